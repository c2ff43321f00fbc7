//! The journal keeps, forgets and counts.
use super::*;

fn fill(path: &Path, keep: Keep, now_ms: u64, jobs: impl Iterator<Item = JobId>) {
    let (journal, writer) = Journal::open(path, keep).unwrap();
    for job in jobs {
        journal.record(job, format!("{{\"job\":\"{job}\"}}"));
    }
    assert_eq!(journal.dropped(), 0);
    drop(journal);
    writer.run(|| now_ms);
}

#[test]
fn a_record_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let job = JobId::new(10_000, 5);
    fill(&path, Keep { days: 7, jobs: 10 }, 20_000, [job].into_iter());
    assert_eq!(Journal::read(&path, job).unwrap().unwrap(), format!("{{\"job\":\"{job}\"}}"));
    assert_eq!(Journal::read(&path, JobId::new(10_000, 6)).unwrap(), None);
}

#[test]
fn the_old_and_the_many_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let day = 86_400_000;
    let jobs = [JobId::new(day, 1), JobId::new(9 * day, 2), JobId::new(9 * day + 1, 3), JobId::new(9 * day + 2, 4)];
    fill(&path, Keep { days: 7, jobs: 2 }, 9 * day + 3, jobs.into_iter());
    let kept = jobs.map(|job| Journal::read(&path, job).unwrap().is_some());
    assert_eq!(kept, [false, false, true, true]);
}

#[test]
fn what_does_not_fit_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let (journal, _writer) = Journal::open(&path, Keep { days: 7, jobs: 2 }).unwrap();
    for n in 0..QUEUE as u128 + 3 {
        journal.record(JobId(n), String::new());
    }
    journal.record(JobId(1), "x".repeat(LONGEST + 1));
    assert_eq!(journal.dropped(), 4);
}

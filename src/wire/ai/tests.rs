//! AI jobs: requests and answers.

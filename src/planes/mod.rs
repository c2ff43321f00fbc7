//! Planes translate protocols into tickets, leases and receipts; they never meet.

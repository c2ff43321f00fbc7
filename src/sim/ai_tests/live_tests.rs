//! Live video and BYOC streams against trickle channels that are just enough of ones.

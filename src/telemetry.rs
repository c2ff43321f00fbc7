//! Every metric name and log event, one typed function each.

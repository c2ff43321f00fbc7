//! Media facts, counted from the bytes.

//! AI messages: read, made, patched.

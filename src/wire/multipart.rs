//! multipart/mixed, pushed in and pulled out chunk by chunk.

//! Header names and fixed texts of the transcoding protocol.

//! What the user asked (`JobFile`), what was decided (`Plan`), and the run folder.

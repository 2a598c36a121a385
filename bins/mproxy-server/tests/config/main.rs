//! The configuration and the command line, through the real binary.

mod commands; // what the other commands print, and how they end
mod files;
mod invalid; // every mistake, with the message that it gets
mod overrides; // environment, flags, directories
mod shipped; // the files in config/
mod streams; // on a full disk, and closed
mod support; // running the binary

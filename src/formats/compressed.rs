//! Compressed files, which are not unpacked here but known by their first bytes.

/// First bytes, name, and the command that unpacks.
const KINDS: [(&[u8], &str, &str); 5] = [
    (&[0x1f, 0x8b], "gzip", "gunzip"),
    (b"BZh", "bzip2", "bunzip2"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz", "unxz"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", "unzstd"),
    (b"PK\x03\x04", "zip", "unzip"),
];

/// Name of the compression and the command that unpacks it, if a file begins like this.
pub fn compression(start: &[u8]) -> Option<(&'static str, &'static str)> {
    KINDS.into_iter().find(|(magic, ..)| start.starts_with(magic)).map(|(_, name, command)| (name, command))
}

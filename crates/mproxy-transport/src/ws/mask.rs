//! Masking, RFC 6455 section 5.3: exclusive or with a repeating key.

/// Masks or unmasks a payload in place; the key's first byte belongs to the payload's first.
pub(super) fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// The key for what follows a masked piece of this length.
pub(super) fn advance_key(mut key: [u8; 4], len: usize) -> [u8; 4] {
    key.rotate_left(len % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_masked_like_the_whole() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let whole: Vec<u8> = (0..100).collect();
        let expected: Vec<u8> = (0..100).map(|i| whole[i] ^ key[i % 4]).collect();
        for cut in 0..=whole.len() {
            let mut masked = whole.clone();
            let (first, second) = masked.split_at_mut(cut);
            apply_mask(first, key);
            apply_mask(second, advance_key(key, cut));
            assert_eq!(masked, expected, "cut at {cut}");
        }
    }
}

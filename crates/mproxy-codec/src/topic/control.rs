//! The characters that a string "should not" contain.

/// Says whether a string contains a control character or a Unicode noncharacter.
///
/// The standard discourages U+0001 to U+001F, U+007F to U+009F and the noncharacters, and lets a
/// receiver close the connection over them (section 1.5.3 of MQTT 3.1.1, 1.5.4 of 5.0). Whether to
/// do so is policy, so this is a question of its own and not part of the validation: see
/// [`View::has_control`](crate::View::has_control). U+0000 counts as a control character.
///
/// # Examples
///
/// ```
/// use mproxy_codec::topic::has_control;
///
/// assert!(!has_control("température/n°5"));
/// assert!(has_control("a\nb"));
/// assert!(has_control("a\u{fdd0}b"));
/// ```
pub fn has_control(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || is_noncharacter(c))
}

/// U+FDD0 to U+FDEF and the last two code points of each of the 17 planes.
const fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || (c as u32) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_control_character_and_noncharacter() {
        let controls = ('\u{0}'..='\u{1f}').chain('\u{7f}'..='\u{9f}');
        let noncharacters = ('\u{fdd0}'..='\u{fdef}').chain(
            (0..=16)
                .flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff])
                .filter_map(char::from_u32),
        );
        let mut found = 0;
        for c in controls.chain(noncharacters) {
            assert!(has_control(&format!("a/{c}/b")), "U+{:04X}", c as u32);
            found += 1;
        }
        assert_eq!(found, 32 + 33 + 32 + 34);
    }

    #[test]
    fn leaves_other_characters_alone() {
        for c in [
            ' ',
            '~',
            '\u{a0}',
            'é',
            '\u{feff}',
            '\u{fdcf}',
            '\u{fdf0}',
            '\u{fffd}',
            '\u{1f600}',
        ] {
            assert!(!has_control(&c.to_string()), "U+{:04X}", c as u32);
        }
    }
}

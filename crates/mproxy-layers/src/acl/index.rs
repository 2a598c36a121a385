//! A map from texts, some with placeholders, that is looked up without checking each text.
//!
//! A text without placeholders is a key. For one with placeholders it takes the values of a session
//! to say what it is, and they are not known when the tree is built. But where they stand is: in
//! `${username}x1` and in `${username}x2` the user name comes first, so that a level is taken apart
//! in the same way for both, and what is left of it, `x1` or `x2`, is a key. Texts with the same
//! placeholders after as many bytes have one [outline](Outline); there are few of those, however many
//! texts there are.

use std::mem;

use rustc_hash::FxHashMap;

use crate::{
    identity::Values,
    template::{Hole, Template},
};

/// Up to this many texts with placeholders are compared one by one, which is cheaper.
const FEW: usize = 4;

/// Things by texts.
#[derive(Debug)]
pub(super) struct Index<T> {
    /// Hashed without a secret: the keys come from the configuration and never from the network, so that
    /// nobody can fill it with collisions. The standard hasher would be most of the cost of a look-up.
    literals: FxHashMap<Box<[u8]>, T>,
    templates: Templates<T>,
}

#[derive(Debug)]
enum Templates<T> {
    Few(Vec<(Template, T)>),
    Many(Vec<Outline<T>>),
}

/// The texts with these placeholders.
#[derive(Debug)]
struct Outline<T> {
    holes: Box<[Hole]>,
    /// By the hash of what is literal in them.
    texts: FxHashMap<u64, Vec<(Template, T)>>,
}

impl<T> Index<T> {
    pub(super) fn new() -> Self {
        Self {
            literals: FxHashMap::default(),
            templates: Templates::Few(Vec::new()),
        }
    }

    /// Returns what is behind a text, which is added if it is missing.
    pub(super) fn entry(&mut self, text: &Template, missing: impl FnOnce() -> T) -> &mut T {
        if text.is_literal() {
            let key = text.sample().into_bytes().into();
            return self.literals.entry(key).or_insert_with(missing);
        }
        if let Templates::Few(few) = &mut self.templates
            && few.len() == FEW
            && few.iter().all(|(known, _)| known != text)
        {
            let mut outlines = Vec::new();
            for (text, thing) in mem::take(few) {
                bucket(&mut outlines, &text).push((text, thing));
            }
            self.templates = Templates::Many(outlines);
        }
        let texts = match &mut self.templates {
            Templates::Few(few) => few,
            Templates::Many(outlines) => bucket(outlines, text),
        };
        let place = texts.iter().position(|(known, _)| known == text);
        let place = place.unwrap_or_else(|| {
            texts.push((text.clone(), missing()));
            texts.len() - 1
        });
        &mut texts[place].1
    }

    /// Calls for all that is behind a text, filled in for a client.
    #[inline]
    pub(super) fn each<'a>(&'a self, text: &[u8], values: &Values, mut call: impl FnMut(&'a T)) {
        if let Some(thing) = self.literals.get(text) {
            call(thing);
        }
        match &self.templates {
            Templates::Few(few) => {
                for (template, thing) in few {
                    if template.is(text, values) {
                        call(thing);
                    }
                }
            }
            Templates::Many(outlines) => {
                for outline in outlines {
                    if let Some(thing) = outline.get(text, values) {
                        call(thing);
                    }
                }
            }
        }
    }

    /// Calls for all that is behind some text, filled in for a client.
    pub(super) fn each_fillable<'a>(&'a self, values: &Values, mut call: impl FnMut(&'a T)) {
        self.literals.values().for_each(&mut call);
        let fillable = |texts: &'a [(Template, T)], call: &mut dyn FnMut(&'a T)| {
            let texts = texts.iter().filter(|(text, _)| text.is_fillable(values));
            texts.for_each(|(_, thing)| call(thing));
        };
        match &self.templates {
            Templates::Few(few) => fillable(few, &mut call),
            Templates::Many(outlines) => {
                let texts = outlines.iter().flat_map(|outline| outline.texts.values());
                texts.for_each(|texts| fillable(texts, &mut call));
            }
        }
    }
}

/// Returns the texts that are looked for where this one is.
fn bucket<'a, T>(outlines: &'a mut Vec<Outline<T>>, text: &Template) -> &'a mut Vec<(Template, T)> {
    let holes = text.holes();
    let place = outlines.iter().position(|it| *it.holes == *holes);
    let place = place.unwrap_or_else(|| {
        outlines.push(Outline {
            holes: holes.into(),
            texts: FxHashMap::default(),
        });
        outlines.len() - 1
    });
    let literals = text.literals();
    let hash = literals.fold(START, |hash, literal| add(hash, literal.as_bytes()));
    outlines[place].texts.entry(hash).or_default()
}

impl<T> Outline<T> {
    fn get(&self, text: &[u8], values: &Values) -> Option<&T> {
        let (mut rest, mut hash) = (text, START);
        for hole in &self.holes {
            let (literal, after) = rest.split_at_checked(hole.before)?;
            hash = add(hash, literal);
            let value = values.value(hole.placeholder, hole.leading)?;
            rest = after.strip_prefix(value.as_bytes())?;
        }
        let mut texts = self.texts.get(&add(hash, rest))?.iter();
        let (_, thing) = texts.find(|(template, _)| template.is(text, values))?;
        Some(thing)
    }
}

/// FNV-1a: the hash of a text does not depend on how it is cut into pieces.
const START: u64 = 0xcbf2_9ce4_8422_2325;

fn add(hash: u64, text: &[u8]) -> u64 {
    text.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Names;

    fn index(texts: &[String]) -> Index<usize> {
        let mut index = Index::new();
        for (number, text) in texts.iter().enumerate() {
            let template = Template::parse(text, true).expect("a template");
            *index.entry(&template, || number) = number;
        }
        index
    }

    /// A thousand rules about `${username}x1`, `${username}x2` ... were compared one after the other
    /// for each message.
    #[test]
    fn a_thousand_texts_have_few_outlines() {
        for (before, outlines) in [("", 1), ("x", 1)] {
            let texts: Vec<_> = (0..1000)
                .map(|number| format!("{before}${{username}}x{number}"))
                .collect();
            let index = index(&texts);
            let Templates::Many(many) = &index.templates else {
                panic!("too many to be few");
            };
            assert_eq!(many.len(), outlines);
            let most = many[0].texts.values().map(Vec::len).max();
            assert_eq!(most, Some(1), "texts with one hash");
        }
    }

    fn piece() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["a", "b", "ab", "", "x", "${username}", "${client_id}"])
            .prop_map(str::to_owned)
    }

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(piece(), 0..4).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        /// What is found is what comparing with each text finds.
        #[test]
        fn nothing_else_is_found_than_by_comparing(
            texts in prop::collection::vec(text(), 0..16),
            asked in prop::collection::vec(
                prop::sample::select(vec!["a", "b", "ab", "x", "$", ""]), 0..5),
            client_id in prop::sample::select(vec!["a", "ab", "", "$x", "/"]),
            username in prop::option::of(prop::sample::select(vec!["a", "b", "", "xa"])),
        ) {
            let values = Values::new(Names::new(client_id, username), mproxy_codec::topic::Dialect::MQTT);
            let asked = asked.concat();
            let index = index(&texts);
            let last = |wanted: &dyn Fn(&Template) -> bool| {
                // each text once, with the number that it was given last
                let templates = texts.iter().map(|it| Template::parse(it, true).expect("a template"));
                let numbered: FxHashMap<_, _> = templates.zip(0..).collect();
                let mut found: Vec<usize> = numbered
                    .iter()
                    .filter(|(template, _)| wanted(template))
                    .map(|(_, number)| *number)
                    .collect();
                found.sort_unstable();
                found
            };
            let mut found = Vec::new();
            index.each(asked.as_bytes(), &values, |number| found.push(*number));
            found.sort_unstable();
            let expected = last(&|template| template.is(asked.as_bytes(), &values));
            prop_assert_eq!(found, expected);

            let mut found = Vec::new();
            index.each_fillable(&values, |number| found.push(*number));
            found.sort_unstable();
            prop_assert_eq!(found, last(&|template| template.is_fillable(&values)));
        }
    }
}

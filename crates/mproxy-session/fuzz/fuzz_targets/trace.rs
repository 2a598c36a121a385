//! What goes through one end's wire, packet by packet, as a receiver understands it.

use std::collections::BTreeMap;

use bytes::Bytes;
use mproxy_codec::{
    DecodeError, Direction, Head, Kind, Publish, PublishLayout, Version, View, tolerance,
};

/// What of a packet the rules are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Publish {
        /// What the alias means, if there is one.
        topic: String,
        qos: u8,
        id: u16,
        payload: usize,
    },
    /// SUBSCRIBE and UNSUBSCRIBE.
    Filters {
        kind: Kind,
        id: u16,
        filters: Vec<String>,
    },
    /// Acknowledgements, with the codes of SUBACK and UNSUBACK.
    Answer {
        kind: Kind,
        id: u16,
        codes: Vec<u8>,
    },
    Other(Kind),
}

/// Bytes in one direction, cut into packets.
#[derive(Debug)]
pub(crate) struct Trace {
    direction: Direction,
    /// That of CONNECT, once it has come.
    pub(crate) version: Version,
    input: Vec<u8>,
    /// What the receiver takes each alias for.
    aliases: BTreeMap<u16, String>,
    /// A PUBLISH is told of as soon as its head is there.
    heads: bool,
    /// It was, and is not whole yet.
    told: bool,
    /// Nothing that comes now means anything.
    over: bool,
    /// Slips are repaired before they are read.
    repairs: bool,
}

impl Trace {
    pub(crate) const fn new(version: Version, direction: Direction) -> Self {
        Self {
            direction,
            version,
            input: Vec::new(),
            aliases: BTreeMap::new(),
            heads: false,
            told: false,
            over: false,
            repairs: false,
        }
    }

    /// Reads as a receiver that repairs slips, if it is one.
    pub(crate) const fn repairing(mut self, repairs: bool) -> Self {
        self.repairs = repairs;
        self
    }

    /// Tells of a PUBLISH as soon as its head is there.
    pub(crate) const fn early(mut self) -> Self {
        self.heads = true;
        self
    }

    /// Takes the packets that are whole now. An error is told once.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Item>, (Vec<Item>, DecodeError)> {
        let mut items = Vec::new();
        if self.over {
            return Ok(items);
        }
        self.input.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        loop {
            self.repair(&mut input, at);
            // the refusal of a broker that knows no MQTT 5.0, after which nothing comes
            if self.version.is_v5()
                && self.direction == Direction::ToClient
                && matches!(input[at..], [0x20, 2, 0, 1..=5, ..])
            {
                self.over = true;
                items.push(Item::Other(Kind::Connack));
                return Ok(items);
            }
            match View::parse(self.version, self.direction, &input[at..]) {
                Ok(Some(view)) if view.has_control() => {
                    self.over = true;
                    return Err((items, DecodeError::ControlCharacter));
                }
                Ok(Some(view)) => {
                    let head = Head::parse(&input[at..]).expect("read").expect("whole");
                    at += head.total_len();
                    if let View::Connect(connect) = &view {
                        self.version = connect.version();
                    }
                    if std::mem::take(&mut self.told) {
                        continue;
                    }
                    let Some(item) = Self::item(&mut self.aliases, &view) else {
                        self.over = true;
                        return Ok(items);
                    };
                    self.over = item == Item::Other(Kind::Disconnect);
                    items.push(item);
                    if self.over {
                        return Ok(items);
                    }
                }
                Ok(None) => {
                    if self.heads
                        && !self.told
                        && let Some(publish) = self.head(&input[at..])
                    {
                        self.told = true;
                        match Self::item(&mut self.aliases, &View::Publish(publish)) {
                            Some(item) => items.push(item),
                            None => self.over = true,
                        }
                    }
                    break;
                }
                Err(error) => {
                    self.over = true;
                    return Err((items, error));
                }
            }
        }
        input.drain(..at);
        self.input = input;
        Ok(items)
    }

    /// Repairs the packet at `at`, as far as it has come.
    fn repair(&self, input: &mut [u8], at: usize) {
        let Some(&first) = input.get(at).filter(|_| self.repairs) else {
            return;
        };
        if Kind::from_first_byte(first) != Some(Kind::Connect) {
            input[at] = tolerance::first_byte(first, self.version);
            return;
        }
        // flags of the first byte are for the parser of CONNECT, which forgives them of MQTT 3.1
        let head = Head::parse(&input[at..]).ok().flatten();
        if let Some(end) = head.map(|head| at + head.total_len())
            && end <= input.len()
        {
            let connect = tolerance::connect(Bytes::copy_from_slice(&input[at..end]));
            input[at..end].copy_from_slice(&connect);
        }
    }

    /// The head of a PUBLISH whose payload is on its way.
    fn head<'a>(&self, input: &'a [u8]) -> Option<Publish<'a>> {
        let head = Head::parse(input).ok()??;
        if head.kind() != Kind::Publish {
            return None;
        }
        let layout = PublishLayout::parse(head, self.version, self.direction, input).ok()??;
        if layout.has_control() {
            return None;
        }
        Some(Publish::new(layout, &input[..layout.payload_at()]))
    }

    /// `None` when an alias means nothing.
    fn item(aliases: &mut BTreeMap<u16, String>, view: &View<'_>) -> Option<Item> {
        Some(match view {
            View::Publish(publish) => {
                let layout = publish.layout();
                let mut topic = publish.topic().to_string();
                if let Some(alias) = layout.topic_alias() {
                    if topic.is_empty() {
                        topic.clone_from(aliases.get(&alias)?);
                    } else {
                        aliases.insert(alias, topic.clone());
                    }
                }
                if topic.is_empty() {
                    return None;
                }
                Item::Publish {
                    topic,
                    qos: layout.qos().as_u8(),
                    id: layout.packet_id().unwrap_or(0),
                    payload: layout.payload_len(),
                }
            }
            View::Subscribe(subscribe) => Item::Filters {
                kind: Kind::Subscribe,
                id: subscribe.packet_id(),
                filters: subscribe
                    .subscriptions()
                    .map(|s| s.filter.to_string())
                    .collect(),
            },
            View::Unsubscribe(unsubscribe) => Item::Filters {
                kind: Kind::Unsubscribe,
                id: unsubscribe.packet_id(),
                filters: unsubscribe.filters().map(|it| it.to_string()).collect(),
            },
            View::Ack(ack) => Item::Answer {
                kind: view.kind(),
                id: ack.packet_id,
                codes: vec![ack.reason.as_u8()],
            },
            View::Suback(suback) | View::Unsuback(suback) => Item::Answer {
                kind: view.kind(),
                id: suback.packet_id,
                codes: suback.codes.to_vec(),
            },
            _ if matches!(view.kind(), Kind::Pingreq | Kind::Pingresp) => Item::Answer {
                kind: view.kind(),
                id: 0,
                codes: Vec::new(),
            },
            _ => Item::Other(view.kind()),
        })
    }
}

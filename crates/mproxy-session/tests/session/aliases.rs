//! Topic aliases: hooks judge the topic that is meant, and the receiver reads the topic that was
//! judged.

use mproxy_codec::{KindSet, PropertyId, Value, Version};
use mproxy_session::{BoxError, CloseReason, Conformance, Forward, Hooks, Packet, Tap, Verdict};
use tower::service_fn;

use crate::support::frames::{ConnectParts, properties};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, admit_all};

const F: Frames = Frames(Version::V5);
const NOTHING: [u8; 0] = [];

/// Which way a test looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

const WAYS: [Way; 2] = [Way::Up, Way::Down];

/// A session in which both sides have announced a Topic Alias Maximum of 4.
struct Aliased {
    pair: Pair,
    seen: Seen,
    way: Way,
}

impl Aliased {
    async fn tapped(way: Way) -> Self {
        let seen = Seen::default();
        let hook = by_topic(&Gate::new(), &seen);
        let pair = Setup::new().start(admit(move |_| {
            let tap = || Tap::only(KindSet::PUBLISH, hook.clone());
            Hooks::new(tap(), tap())
        }));
        Self::open(pair, seen, way, 1000).await
    }

    async fn untapped(way: Way) -> Self {
        Self::untapped_as(way, Conformance::default()).await
    }

    async fn untapped_as(way: Way, conformance: Conformance) -> Self {
        let pair = Setup::new().conformance(conformance).start(admit_all());
        Self::open(pair, Seen::default(), way, 1000).await
    }

    async fn open(pair: Pair, seen: Seen, way: Way, size: u32) -> Self {
        let maximum = properties(&[
            (PropertyId::MaximumPacketSize, Value::U32(size)),
            (PropertyId::TopicAliasMaximum, Value::U16(4)),
        ]);
        let connect = F.connect_with(&ConnectParts {
            client_id: "c",
            properties: &maximum,
            ..Default::default()
        });
        pair.open(&connect, &F.connack_with(0, &maximum)).await;
        Self { pair, seen, way }
    }

    /// Sends and says what the receiver gets.
    async fn passes(&self, sent: &[u8], received: &[u8]) {
        let (from, to) = match self.way {
            Way::Up => (&self.pair.client, &self.pair.broker),
            Way::Down => (&self.pair.broker, &self.pair.client),
        };
        from.send(sent);
        to.expect(received).await;
        from.expect(&NOTHING).await;
    }

    /// Sends what must end the session, and says what a guilty client is told. In either
    /// conformance a client is told of its own faults only.
    async fn closes(self, sent: &[u8], code: u8) {
        match self.way {
            Way::Up => self.pair.client.send(sent),
            Way::Down => self.pair.broker.send(sent),
        }
        self.pair.broker.expect(&NOTHING).await;
        // a client hears nothing of what its broker did: it sees the connection end
        let told = match self.way {
            Way::Up => F.farewell(code),
            Way::Down => Vec::new(),
        };
        self.pair.client.expect_plain(&told).await;
        assert!(self.pair.client.is_ended() && self.pair.broker.is_ended());
        let reason = self.pair.end().await.reason;
        assert!(
            matches!(
                reason,
                CloseReason::ProtocolError | CloseReason::UpstreamProtocolError
            ),
            "{reason}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_alias_only_publish_passes_as_it_is_when_the_receiver_knows_the_alias() {
    for way in WAYS {
        for aliased in [Aliased::untapped(way).await, Aliased::tapped(way).await] {
            aliased
                .passes(&F.aliased("a/b", 1, b"1"), &F.aliased("a/b", 1, b"1"))
                .await;
            aliased
                .passes(&F.aliased("", 1, b"2"), &F.aliased("", 1, b"2"))
                .await;
            aliased
                .passes(&F.aliased("a/c", 1, b"3"), &F.aliased("a/c", 1, b"3"))
                .await;
            aliased
                .passes(&F.aliased("", 1, b"4"), &F.aliased("", 1, b"4"))
                .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_see_the_topic_behind_an_alias() {
    for way in WAYS {
        let aliased = Aliased::tapped(way).await;
        aliased
            .passes(&F.aliased("a/b", 1, b"1"), &F.aliased("a/b", 1, b"1"))
            .await;
        aliased
            .passes(&F.aliased("", 1, b"2"), &F.aliased("", 1, b"2"))
            .await;
        assert_eq!(aliased.seen.take(), ["a/b", "a/b"]);
    }
}

/// The sender counts an alias as bound by a PUBLISH that the receiver never saw.
#[tokio::test(start_paused = true)]
async fn an_alias_bound_by_a_refused_publish_is_judged_by_what_it_was_bound_to() {
    for way in WAYS {
        let aliased = Aliased::tapped(way).await;
        aliased
            .passes(&F.aliased("denied/t", 1, b"1"), &NOTHING)
            .await;
        aliased.passes(&F.aliased("", 1, b"2"), &NOTHING).await;
        assert_eq!(aliased.seen.take(), ["denied/t", "denied/t"]);
    }
}

/// Forwarded as it is, the third PUBLISH would be delivered to "ok/t", with the receiver's binding.
#[tokio::test(start_paused = true)]
async fn an_alias_bound_anew_by_a_refused_publish_is_not_delivered_to_the_old_topic() {
    for way in WAYS {
        let aliased = Aliased::tapped(way).await;
        aliased
            .passes(&F.aliased("ok/t", 1, b"1"), &F.aliased("ok/t", 1, b"1"))
            .await;
        aliased
            .passes(&F.aliased("denied/t", 1, b"2"), &NOTHING)
            .await;
        aliased.passes(&F.aliased("", 1, b"3"), &NOTHING).await;
        assert_eq!(aliased.seen.take(), ["ok/t", "denied/t", "denied/t"]);
    }
}

/// A hook that changes its mind: what was refused with the binding is allowed without it.
#[tokio::test(start_paused = true)]
async fn a_topic_that_the_receiver_was_not_told_is_written_out() {
    for way in WAYS {
        let mut asked = 0;
        let hook = service_fn(move |packet: Packet| {
            asked += 1;
            let first = asked == 1;
            async move {
                Ok::<_, BoxError>(if first {
                    Verdict::Discard
                } else {
                    Verdict::Forward(packet)
                })
            }
        });
        let pair = Setup::new().start(admit(move |_| {
            let tap = || Tap::only(KindSet::PUBLISH, hook);
            Hooks::new(tap(), tap())
        }));
        let aliased = Aliased::open(pair, Seen::default(), way, 1000).await;
        aliased.passes(&F.aliased("a/b", 3, b"1"), &NOTHING).await;
        aliased
            .passes(&F.aliased("", 3, b"2"), &F.aliased("a/b", 3, b"2"))
            .await;
        // now the receiver has been told
        aliased
            .passes(&F.aliased("", 3, b"3"), &F.aliased("", 3, b"3"))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rewritten_topic_is_rewritten_behind_its_alias_too() {
    for way in WAYS {
        let aliased = Aliased::tapped(way).await;
        aliased
            .passes(&F.aliased("from/t", 1, b"1"), &F.aliased("to/t", 1, b"1"))
            .await;
        aliased
            .passes(&F.aliased("", 1, b"2"), &F.aliased("to/t", 1, b"2"))
            .await;
        aliased
            .passes(&F.aliased("plain", 1, b"3"), &F.aliased("plain", 1, b"3"))
            .await;
        aliased
            .passes(&F.aliased("", 1, b"4"), &F.aliased("", 1, b"4"))
            .await;
        assert_eq!(aliased.seen.take(), ["from/t", "from/t", "plain", "plain"]);
    }
}

/// A hook that rewrites the binding PUBLISH only: the alias stands for different topics at the two
/// ends, so the one that is meant is written out.
#[tokio::test(start_paused = true)]
async fn a_binding_that_was_rewritten_is_not_used_for_a_topic_that_is_not() {
    for way in WAYS {
        let mut asked = 0;
        let hook = service_fn(move |mut packet: Packet| {
            asked += 1;
            let first = asked == 1;
            async move {
                if first {
                    packet.set_topic("elsewhere")?;
                }
                Ok::<_, BoxError>(Verdict::Forward(packet))
            }
        });
        let pair = Setup::new().start(admit(move |_| {
            let tap = || Tap::only(KindSet::PUBLISH, hook);
            Hooks::new(tap(), tap())
        }));
        let aliased = Aliased::open(pair, Seen::default(), way, 1000).await;
        aliased
            .passes(&F.aliased("a/b", 1, b"1"), &F.aliased("elsewhere", 1, b"1"))
            .await;
        aliased
            .passes(&F.aliased("", 1, b"2"), &F.aliased("a/b", 1, b"2"))
            .await;
        aliased
            .passes(&F.aliased("", 1, b"3"), &F.aliased("", 1, b"3"))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unbound_alias_is_a_protocol_error() {
    for way in WAYS {
        Aliased::untapped(way)
            .await
            .closes(&F.aliased("", 1, b"x"), 0x82)
            .await;
        Aliased::tapped(way)
            .await
            .closes(&F.aliased("", 1, b"x"), 0x82)
            .await;
        // one that another alias was bound next to
        let aliased = Aliased::tapped(way).await;
        aliased
            .passes(&F.aliased("a", 3, b"x"), &F.aliased("a", 3, b"x"))
            .await;
        aliased.closes(&F.aliased("", 2, b"x"), 0x82).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_alias_of_zero_or_above_the_maximum_is_invalid() {
    for way in WAYS {
        for alias in [5, 65_535] {
            Aliased::untapped(way)
                .await
                .closes(&F.aliased("a", alias, b"x"), 0x94)
                .await;
            Aliased::tapped(way)
                .await
                .closes(&F.aliased("a", alias, b"x"), 0x94)
                .await;
        }
        let zero = F.publish_with("a", 0, 0, &[0x23, 0, 0], b"x");
        Aliased::untapped(way).await.closes(&zero, 0x94).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_announced_maximum_there_are_no_aliases() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    Aliased {
        pair,
        seen: Seen::default(),
        way: Way::Up,
    }
    .closes(&F.aliased("a", 1, b"x"), 0x94)
    .await;
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    Aliased {
        pair,
        seen: Seen::default(),
        way: Way::Down,
    }
    .closes(&F.aliased("a", 1, b"x"), 0x94)
    .await;
}

/// 65,535 aliases of 65,535 bytes are 4 GiB a connection: a direction that remembers topics
/// announces fewer.
#[tokio::test(start_paused = true)]
async fn a_tapped_direction_announces_fewer_aliases() {
    let announced = |maximum| {
        properties(&[
            (PropertyId::TopicAliasMaximum, Value::U16(maximum)),
            (PropertyId::UserProperty, Value::Pair("k", "v")),
        ])
    };
    let connect = |maximum| {
        F.connect_with(&ConnectParts {
            client_id: "c",
            properties: &announced(maximum),
            ..Default::default()
        })
    };
    // a property that is lowered moves to the end
    let lowered = |maximum| {
        properties(&[
            (PropertyId::UserProperty, Value::Pair("k", "v")),
            (PropertyId::TopicAliasMaximum, Value::U16(maximum)),
        ])
    };
    let pair = Setup::new()
        .limits(|limits| limits.max_topic_aliases = 2)
        .start(admit(|_| {
            Hooks::new(
                Tap::only(KindSet::PUBLISH, Forward),
                Tap::only(KindSet::PUBLISH, Forward),
            )
        }));
    pair.client.send(&connect(10));
    let wanted = F.connect_with(&ConnectParts {
        client_id: "c",
        properties: &lowered(2),
        ..Default::default()
    });
    pair.broker.expect(&wanted).await;
    pair.broker.send(&F.connack_with(0, &announced(10)));
    let wanted = F.connack_with(
        0,
        &properties(&[
            (PropertyId::UserProperty, Value::Pair("k", "v")),
            (PropertyId::TopicAliasMaximum, Value::U16(2)),
        ]),
    );
    pair.client.expect(&wanted).await;
    let aliased = Aliased {
        pair,
        seen: Seen::default(),
        way: Way::Up,
    };
    aliased
        .passes(&F.aliased("a", 2, b"x"), &F.aliased("a", 2, b"x"))
        .await;
    aliased.closes(&F.aliased("a", 3, b"x"), 0x94).await;
}

/// Where nobody looks at topics, a binding costs a bit and no name: what the two sides offer each
/// other passes. It used to be lowered to 16 although no hook had asked for it.
#[tokio::test(start_paused = true)]
async fn an_untapped_direction_announces_as_many_aliases_as_the_other_side() {
    let maximum = |maximum| properties(&[(PropertyId::TopicAliasMaximum, Value::U16(maximum))]);
    let connect = |maximum: &[u8]| {
        F.connect_with(&ConnectParts {
            client_id: "c",
            properties: maximum,
            ..Default::default()
        })
    };
    let connack = |maximum| {
        F.connack_with(
            0,
            &properties(&[
                (PropertyId::MaximumPacketSize, Value::U32(500)),
                (PropertyId::TopicAliasMaximum, Value::U16(maximum)),
            ]),
        )
    };
    for way in WAYS {
        let pair = Setup::new().start(admit_all());
        pair.client.send(&connect(&maximum(1000)));
        pair.broker.expect(&connect(&maximum(1000))).await;
        pair.broker.send(&connack(1000));
        pair.client.expect(&connack(1000)).await;
        let aliased = Aliased {
            pair,
            seen: Seen::default(),
            way,
        };
        for sent in [F.aliased("a", 1000, b"x"), F.aliased("", 1000, b"x")] {
            aliased.passes(&sent, &sent).await;
        }
        // the limit that was told is kept all the same
        aliased.closes(&F.aliased("a", 1001, b"x"), 0x94).await;
    }
}

/// Only the direction that hooks look at has fewer aliases: the other one keeps what was offered.
#[tokio::test(start_paused = true)]
async fn aliases_are_lowered_in_the_tapped_direction_only() {
    let list = |maximum| properties(&[(PropertyId::TopicAliasMaximum, Value::U16(maximum))]);
    let connect = |maximum| {
        F.connect_with(&ConnectParts {
            client_id: "c",
            properties: &list(maximum),
            ..Default::default()
        })
    };
    for way in WAYS {
        let pair = Setup::new().start(admit(move |_| {
            let tap = |tapped| match tapped {
                true => Tap::only(KindSet::PUBLISH, Forward),
                false => Tap::only(KindSet::SUBSCRIBE, Forward),
            };
            Hooks::new(tap(way == Way::Up), tap(way == Way::Down))
        }));
        // the client's maximum is for what comes down, the broker's for what goes up
        let (up, down) = match way {
            Way::Up => (16, 1000),
            Way::Down => (1000, 16),
        };
        pair.client.send(&connect(1000));
        pair.broker.expect(&connect(down)).await;
        pair.broker.send(&F.connack_with(0, &list(1000)));
        pair.client.expect(&F.connack_with(0, &list(up))).await;
    }
}

/// A client that uses all 65,535 aliases, as gateways with many devices do, sees what it would see
/// from the broker.
#[tokio::test(start_paused = true)]
async fn all_aliases_pass_where_nobody_looks() {
    for way in WAYS {
        let pair = Setup::new().start(admit_all());
        let maximum = properties(&[(PropertyId::TopicAliasMaximum, Value::U16(u16::MAX))]);
        let connect = F.connect_with(&ConnectParts {
            client_id: "c",
            properties: &maximum,
            ..Default::default()
        });
        pair.open(&connect, &F.connack_with(0, &maximum)).await;
        let aliased = Aliased {
            pair,
            seen: Seen::default(),
            way,
        };
        let all = |topic: &str| -> Vec<u8> {
            (1..=u16::MAX)
                .flat_map(|alias| F.aliased(topic, alias, b"x"))
                .collect()
        };
        aliased.passes(&all("t"), &all("t")).await;
        aliased.passes(&all(""), &all("")).await;
    }
}

/// The binding was noted as told to the receiver before the size of the rewritten packet was looked
/// at: the PUBLISH was thrown away, and the next one went on with an alias that meant nothing to the
/// broker, which closes the connection for it.
#[tokio::test(start_paused = true)]
async fn an_alias_of_a_publish_that_became_too_large_is_not_told() {
    for way in WAYS {
        let mut asked = 0;
        let hook = service_fn(move |mut packet: Packet| {
            asked += 1;
            let first = asked == 1;
            async move {
                if first {
                    packet.set_payload(&[0; 2000])?;
                }
                Ok::<_, BoxError>(Verdict::Forward(packet))
            }
        });
        let pair = Setup::new().start(admit(move |_| {
            let tap = || Tap::only(KindSet::PUBLISH, hook);
            Hooks::new(tap(), tap())
        }));
        let aliased = Aliased::open(pair, Seen::default(), way, 1000).await;
        aliased.passes(&F.aliased("a/b", 1, b"1"), &NOTHING).await;
        aliased
            .passes(&F.aliased("", 1, b"2"), &F.aliased("a/b", 1, b"2"))
            .await;
    }
}

/// In a direction that nobody looks at only the fact of a binding is kept. When a PUBLISH that binds
/// is thrown away for its size, the next one would be delivered to the old topic if it went on as it
/// is, and at first the session was closed for it. To the letter, that is: tolerant, the size is
/// between the broker and the client.
#[tokio::test(start_paused = true)]
async fn an_alias_bound_by_a_publish_that_is_too_large_is_written_out_where_nobody_looks() {
    let aliased = Aliased::untapped_as(Way::Down, Conformance::Tolerant).await;
    for sent in [
        F.aliased("ok/t", 1, b"1"),
        F.aliased("other/t", 1, &[0; 2000]),
        F.aliased("", 1, b"3"),
    ] {
        aliased.passes(&sent, &sent).await;
    }
    // the other way the session ends with such a packet
    let aliased = Aliased::untapped_as(Way::Down, Conformance::Strict).await;
    aliased
        .passes(&F.aliased("ok/t", 1, b"1"), &F.aliased("ok/t", 1, b"1"))
        .await;
    aliased
        .passes(&F.aliased("other/t", 1, &[0; 2000]), &NOTHING)
        .await;
    aliased
        .passes(&F.aliased("", 1, b"3"), &F.aliased("other/t", 1, b"3"))
        .await;
    // from then on the receiver knows it
    aliased
        .passes(&F.aliased("", 1, b"4"), &F.aliased("", 1, b"4"))
        .await;
    aliased
        .passes(&F.aliased("ok/t", 1, b"5"), &F.aliased("ok/t", 1, b"5"))
        .await;
    aliased
        .passes(&F.aliased("", 1, b"6"), &F.aliased("", 1, b"6"))
        .await;
}

/// A PUBLISH that binds an alias and expires while it waits for its receiver takes the binding with
/// it: the next one that uses the alias must bring the topic, be it in the queue or yet to come.
#[tokio::test(start_paused = true)]
async fn an_alias_bound_by_a_publish_that_expired_is_written_out() {
    let binds = |topic: &str, alias| {
        let list = [
            (PropertyId::MessageExpiryInterval, Value::U32(2)),
            (PropertyId::TopicAlias, Value::U16(alias)),
        ];
        F.publish_with(topic, 0, 0, &properties(&list), b"expires")
    };
    for way in WAYS {
        for aliased in [Aliased::untapped(way).await, Aliased::tapped(way).await] {
            let to = match way {
                Way::Up => &aliased.pair.broker,
                Way::Down => &aliased.pair.client,
            };
            to.set_capacity(0);
            let sent = [
                binds("a/1", 1),
                F.aliased("", 1, b"1"),
                F.aliased("", 1, b"2"),
                binds("a/2", 2),
                binds("a/3", 3),
                F.aliased("b/3", 3, b"3"),
                F.aliased("", 3, b"4"),
                binds("a/4", 1),
                binds("", 1),
            ];
            aliased.passes(&sent.concat(), &NOTHING).await;
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            to.set_capacity(usize::MAX);
            let received = [
                F.aliased("a/1", 1, b"1"),
                F.aliased("", 1, b"2"),
                F.aliased("b/3", 3, b"3"),
                F.aliased("", 3, b"4"),
            ];
            aliased.passes(&NOTHING, &received.concat()).await;
            for (alias, topic) in [(2, "a/2"), (1, "a/4")] {
                aliased
                    .passes(&F.aliased("", alias, b"5"), &F.aliased(topic, alias, b"5"))
                    .await;
                aliased
                    .passes(&F.aliased("", alias, b"6"), &F.aliased("", alias, b"6"))
                    .await;
            }
            aliased
                .passes(&F.aliased("", 3, b"7"), &F.aliased("", 3, b"7"))
                .await;
        }
    }
}

/// A repetition of a PUBLISH that was answered here is not judged again, but it binds its alias as
/// the sender counts it.
#[tokio::test(start_paused = true)]
async fn a_repeated_publish_binds_its_alias() {
    let aliased = Aliased::tapped(Way::Up).await;
    let alias = properties(&[(PropertyId::TopicAlias, Value::U16(1))]);
    aliased
        .pair
        .client
        .send(&F.publish("dropped/t", 2, 5, b"x"));
    aliased.pair.client.expect(&F.pubrec(5)).await;
    aliased
        .pair
        .client
        .send(&F.publish_with("dropped/t", 2, 5, &alias, b"x"));
    aliased.pair.client.expect(&F.pubrec(5)).await;
    aliased.passes(&F.aliased("", 1, b"2"), &NOTHING).await;
    assert_eq!(aliased.seen.take(), ["dropped/t", "dropped/t"]);
}

/// 16 aliases of 65,535 bytes each would be a mebibyte that a session may hold on to.
#[tokio::test(start_paused = true)]
async fn names_behind_aliases_are_bounded_together() {
    for way in WAYS {
        let pair = Setup::new().start(admit(move |_| {
            let tap = || Tap::only(KindSet::PUBLISH, Forward);
            Hooks::new(tap(), tap())
        }));
        let aliased = Aliased::open(pair, Seen::default(), way, 100_000).await;
        let publish = |letter: &str, alias| F.aliased(&letter.repeat(30_000), alias, b"x");
        for (alias, letter) in [(1, "a"), (2, "b")] {
            aliased
                .passes(&publish(letter, alias), &publish(letter, alias))
                .await;
        }
        // one in the place of another takes no more room
        aliased.passes(&publish("c", 2), &publish("c", 2)).await;
        aliased.closes(&publish("d", 3), 0x97).await;
    }
}

//! The rules: what the standards oblige a program to do that is the server to a client and the
//! client to a broker, in the order of their chapters.
//!
//! Numbers do not change; they are what commits, tests and people call the rules.

/// A rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) number: u8,
    pub(crate) text: &'static str,
    /// Where it applies.
    pub(crate) versions: &'static [&'static str],
}

/// A test that is not here: in the crate of the library, where rules are kept that no configuration
/// of the program reaches.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(crate) file: &'static str,
    pub(crate) name: &'static str,
    pub(crate) rules: &'static [u8],
    pub(crate) versions: &'static [&'static str],
}

const ALL: &[&str] = &["v31", "v311", "v5"];
const V3: &[&str] = &["v31", "v311"];
const V5: &[&str] = &["v5"];
const LATER: &[&str] = &["v311", "v5"];

const fn rule(number: u8, versions: &'static [&'static str], text: &'static str) -> Rule {
    Rule {
        number,
        text,
        versions,
    }
}

/// See the [module](self).
pub(crate) const RULES: &[Rule] = &[
    // framing
    rule(
        1,
        ALL,
        "refuses a length of more than four bytes and judges a length when it is complete; nothing is allocated for it",
    ),
    rule(
        2,
        ALL,
        "refuses lengths that are longer than they must be (5.0), or forwards them in their shortest form (3.x)",
    ),
    rule(
        3,
        ALL,
        "judges type, direction and flags by the first byte alone",
    ),
    rule(
        4,
        ALL,
        "refuses wrong reserved flags; those that 3.1 does not use are put right, or refused by a strict proxy, and DUP of a repeated PUBREL, SUBSCRIBE or UNSUBSCRIBE of 3.1 is not forwarded",
    ),
    rule(
        5,
        ALL,
        "refuses the types 0 and, where there is no AUTH, 15",
    ),
    rule(
        6,
        ALL,
        "refuses packets that travel in the wrong direction, and none of them reaches the other side",
    ),
    rule(
        7,
        ALL,
        "refuses a body that is not used up, or that ends within a field",
    ),
    rule(
        8,
        ALL,
        "refuses strings that are not well-formed UTF-8, in every field and both directions",
    ),
    rule(9, ALL, "refuses strings with U+0000"),
    rule(
        10,
        ALL,
        "treats a byte order mark as a character like any other",
    ),
    rule(
        11,
        ALL,
        "refuses control characters and noncharacters in names, topics and filters, or passes them on",
    ),
    rule(
        12,
        ALL,
        "compares topics byte by byte: nothing is normalised, case matters",
    ),
    rule(13, ALL, "never treats binary fields as strings"),
    rule(
        14,
        V5,
        "refuses properties that are unknown, not allowed in their packet, or given twice",
    ),
    rule(
        15,
        V5,
        "demands the length of the properties, where the standard does not let it be left out",
    ),
    rule(
        16,
        V5,
        "takes an unknown property for an error and does not wait for more",
    ),
    rule(
        17,
        ALL,
        "forwards the bytes that it has checked, to the last one",
    ),
    rule(
        18,
        ALL,
        "writes packets of its own between packets only, also while a large one streams",
    ),
    // the life of a connection
    rule(
        19,
        ALL,
        "closes without an answer when the first packet is not CONNECT; hooks and broker see nothing of it",
    ),
    rule(
        20,
        ALL,
        "closes at a second CONNECT, and shows it to neither hooks nor broker",
    ),
    rule(
        21,
        ALL,
        "treats a broker as unavailable if it does not answer CONNECT with CONNACK (or AUTH)",
    ),
    rule(22, ALL, "closes both sides at a second CONNACK"),
    rule(
        23,
        ALL,
        "keeps what is sent behind CONNECT until CONNACK, in order and within a bound",
    ),
    rule(
        24,
        ALL,
        "never processes what was sent behind a CONNECT that is refused",
    ),
    rule(
        25,
        ALL,
        "closes both sides behind a CONNACK that refuses, and sends nothing after it",
    ),
    rule(
        26,
        ALL,
        "never sends Session Present with a refusal; clears it in the broker's, or if strict, treats the broker as unavailable",
    ),
    rule(
        27,
        ALL,
        "answers in the format of the client's version, and later ones in that of 5.0; refuses unsupported versions with a code, and does not answer other protocols; bridges are clients, or refused if configured",
    ),
    rule(
        28,
        ALL,
        "sends no DISCONNECT before CONNACK, and none at all in 3.x",
    ),
    rule(
        29,
        ALL,
        "closes so that the refusal arrives although the client has sent more",
    ),
    rule(
        30,
        ALL,
        "forwards everything that came before a client closed, and then ends the broker's side",
    ),
    rule(
        31,
        ALL,
        "delivers everything that came before the broker closed, closes, and does not reconnect",
    ),
    rule(
        32,
        ALL,
        "forwards DISCONNECT as it is, and nothing after it",
    ),
    rule(
        33,
        ALL,
        "sends no DISCONNECT on behalf of a client that was lost",
    ),
    rule(
        34,
        ALL,
        "closes the broker's side without DISCONNECT when it ends a session; when it is stopped, both sides as configured",
    ),
    rule(
        35,
        ALL,
        "uses and lets pass only the codes that CONNACK and DISCONNECT may carry",
    ),
    rule(
        36,
        ALL,
        "tolerates two connections of one client at a time, and forgets the right one",
    ),
    rule(
        37,
        ALL,
        "ends the broker's side at once when a client is gone, before it comes back",
    ),
    rule(
        38,
        ALL,
        "passes PINGREQ and PINGRESP from end to end, and starves neither",
    ),
    rule(
        39,
        ALL,
        "keeps a keep alive of its own, told to the client (5.0) or enforced (3.x); the client's own is the broker's to judge, or a strict proxy's",
    ),
    rule(
        40,
        ALL,
        "bounds the time for CONNECT as a whole, for CONNACK and for each packet; AUTH gives CONNACK more time",
    ),
    // CONNECT and CONNACK
    rule(
        41,
        ALL,
        "refuses connect flags that are reserved or contradict each other; will flags without a will are put right in 3.1, or refused by a strict proxy",
    ),
    rule(
        42,
        ALL,
        "demands the fields that are flagged, in their order, and no others",
    ),
    rule(
        43,
        ALL,
        "passes client identifiers of all lengths, and demands that there is one",
    ),
    rule(
        44,
        LATER,
        "forwards an empty client identifier as it is; without a clean session 3.1.1 refuses it",
    ),
    rule(
        45,
        V5,
        "passes the assigned client identifier to the client, and knows the session by it",
    ),
    rule(
        46,
        ALL,
        "never maps two clients to one, whatever characters their identifiers have",
    ),
    rule(
        47,
        ALL,
        "passes clean start, session expiry and session present unchanged, but for a session that a client asked not to have; DISCONNECT cannot raise an expiry of 0",
    ),
    rule(
        48,
        ALL,
        "judges and maps a will like a PUBLISH; a refused will refuses the CONNECT",
    ),
    rule(
        49,
        ALL,
        "refuses will topics that are not valid topic names, and those that begin with `$` where clients may not use them",
    ),
    rule(50, V5, "passes all properties of a will in their order"),
    rule(
        51,
        V5,
        "keeps user properties in their order, with duplicates",
    ),
    rule(
        52,
        V5,
        "refuses a Receive Maximum or Maximum Packet Size of 0, and limits that are given twice",
    ),
    rule(
        53,
        V5,
        "sends no reason string of its own when the client asked for none, except in CONNACK and DISCONNECT",
    ),
    rule(
        54,
        ALL,
        "lets hooks change credentials within their bounds, and shows them to nobody",
    ),
    rule(
        55,
        V5,
        "offers the client the lower of the broker's limits and its own, and enforces what it offers; a CONNACK that offers no more is forwarded byte for byte",
    ),
    rule(
        56,
        V5,
        "lets no CONNACK grow beyond the client's Maximum Packet Size",
    ),
    rule(
        57,
        ALL,
        "passes the refusal of a broker in words that the client's version does not have: in the format of 3.1.1, or with a return code of its own",
    ),
    rule(
        58,
        V5,
        "keeps Server Reference from the client, unless it is told to pass it",
    ),
    rule(
        59,
        V5,
        "maps Response Information like a topic, or keeps it from the client",
    ),
    // PUBLISH from the client
    rule(
        60,
        ALL,
        "refuses QoS 3 and packet identifiers that are 0 or missing; clears DUP with QoS 0, or refuses it if strict",
    ),
    rule(
        61,
        ALL,
        "refuses topic names that are empty or have wildcards",
    ),
    rule(
        62,
        V5,
        "answers a refused PUBLISH of QoS 1 with the reason, and does not forward it",
    ),
    rule(
        63,
        V5,
        "answers a refused PUBLISH of QoS 2 with the reason in PUBREC; the exchange is over",
    ),
    rule(
        64,
        V3,
        "acknowledges a refused PUBLISH and drops it, or closes where that is wanted",
    ),
    rule(
        65,
        V3,
        "finishes the exchange of a refused QoS 2 PUBLISH by itself: repetitions and PUBREL stay with it",
    ),
    rule(66, ALL, "drops a refused PUBLISH of QoS 0 in silence"),
    rule(
        67,
        LATER,
        "has the broker forget an identifier of a resumed session, before the client may use it for another message",
    ),
    rule(68, ALL, "judges a PUBLISH with DUP like any other"),
    rule(69, ALL, "changes the order of nothing but its own answers"),
    rule(
        70,
        ALL,
        "forwards no PUBLISH before an earlier one, however long hooks take",
    ),
    rule(
        71,
        V5,
        "leaves the Receive Maximum that the client was told to the broker, or enforces it where that is wanted",
    ),
    rule(
        72,
        V5,
        "sends the broker only the client's PUBLISH packets, so that the broker's Receive Maximum holds",
    ),
    rule(
        73,
        V5,
        "lets everything but PUBLISH pass while the client waits for acknowledgements",
    ),
    rule(
        74,
        ALL,
        "lets hooks lower the QoS: the client gets its acknowledgement",
    ),
    rule(
        75,
        ALL,
        "lets hooks clear RETAIN, and changes nothing else by it",
    ),
    rule(
        76,
        ALL,
        "writes the shortest length for a PUBLISH that hooks have changed",
    ),
    rule(
        77,
        V5,
        "keeps every property of a PUBLISH when it changes another part",
    ),
    rule(78, V5, "checks and maps Response Topics like topics"),
    rule(
        79,
        V5,
        "subtracts the seconds that a PUBLISH was held from its Message Expiry Interval",
    ),
    rule(80, V5, "refuses a Subscription Identifier from a client"),
    // topic aliases
    rule(
        81,
        V5,
        "refuses an alias of 0, or above what its receiver has announced",
    ),
    rule(
        82,
        V5,
        "refuses an empty topic without an alias that stands for one",
    ),
    rule(83, V5, "judges a PUBLISH by the topic behind its alias"),
    rule(
        84,
        V5,
        "knows an alias that was bound by a refused PUBLISH, and writes its topic out for the broker",
    ),
    rule(
        85,
        V5,
        "judges an alias that was bound anew by what it was bound to last",
    ),
    rule(
        86,
        V5,
        "never sends an alias that stands for another topic at its receiver",
    ),
    rule(
        87,
        V5,
        "bounds its tables of aliases in number and in bytes; where nobody looks at messages it keeps none",
    ),
    rule(88, V5, "forgets aliases with their connection"),
    rule(
        89,
        V5,
        "does the same for deliveries; a broker that uses aliases which the client does not take has failed",
    ),
    // SUBSCRIBE and UNSUBSCRIBE
    rule(
        90,
        ALL,
        "refuses SUBSCRIBE and UNSUBSCRIBE without a filter or identifier, and options that are reserved",
    ),
    rule(
        91,
        ALL,
        "refuses filters with misplaced wildcards, and empty ones",
    ),
    rule(
        92,
        ALL,
        "forwards what is left of a SUBSCRIBE with its identifier, and merges the codes in their order",
    ),
    rule(
        93,
        ALL,
        "answers a SUBSCRIBE itself if all its filters are refused",
    ),
    rule(
        94,
        &["v31"],
        "answers a refused filter of 3.1, which has no failure code, and does not subscribe",
    ),
    rule(95, ALL, "lets a delivery pass that comes before SUBACK"),
    rule(
        96,
        ALL,
        "forwards requests whose identifier is in use and answers them in order; bounds what waits for an answer by not reading",
    ),
    rule(
        97,
        ALL,
        "subscribes to nothing when one filter of a SUBSCRIBE is malformed",
    ),
    rule(98, ALL, "lets hooks lower the QoS of a subscription"),
    rule(99, ALL, "maps different filters to different ones"),
    rule(
        100,
        ALL,
        "maps UNSUBSCRIBE like SUBSCRIBE and never denies it; reports filters that were never subscribed as such",
    ),
    rule(
        101,
        ALL,
        "delivers under the client's own topics only; what has none is dropped and acknowledged",
    ),
    rule(
        102,
        ALL,
        "keeps `$` topics apart from wildcards behind a prefix, and drops the topic that is the prefix alone",
    ),
    rule(
        103,
        ALL,
        "judges and maps the filter inside of a shared subscription; malformed ones are refused",
    ),
    rule(104, ALL, "lets no vendor's `$` form bypass a rule"),
    rule(105, V5, "refuses No Local on a shared subscription"),
    rule(
        106,
        ALL,
        "grants a filter only if every topic that it can match is allowed",
    ),
    rule(
        107,
        V5,
        "refuses a Subscription Identifier that is 0 or given twice",
    ),
    // deliveries
    rule(
        108,
        ALL,
        "acknowledges a delivery that it drops on the client's behalf, to the end of the exchange",
    ),
    rule(109, ALL, "keeps the broker's packet identifiers"),
    rule(
        110,
        ALL,
        "passes DUP and RETAIN as they came, but for DUP with QoS 0",
    ),
    rule(
        111,
        ALL,
        "keeps no state of exchanges that it forwards: an acknowledgement for an earlier connection passes",
    ),
    rule(
        112,
        V5,
        "passes the client's Receive Maximum to the broker, and adds no PUBLISH of its own",
    ),
    rule(113, ALL, "keeps the order of each direction"),
    rule(
        114,
        ALL,
        "trusts the broker's bytes no more than the client's",
    ),
    // sizes
    rule(
        115,
        V5,
        "delivers nothing that it made larger than the client takes, also by expanding an alias, and nothing larger at all if strict; it is acknowledged instead",
    ),
    rule(
        116,
        V5,
        "leaves texts out of its own packets, or the packets, before they are too large for the client",
    ),
    rule(
        117,
        V5,
        "announces what its own changes leave of the broker's Maximum Packet Size, refuses what they make too large, and closes a client that sends more than mproxy announced, or the broker did to a strict proxy",
    ),
    rule(
        118,
        ALL,
        "refuses a topic that would be longer than 65,535 bytes",
    ),
    rule(
        119,
        ALL,
        "announces its own maximum packet size (5.0), if it has one, and enforces it; for CONNECT there is a smaller one",
    ),
    // authentication
    rule(
        120,
        V5,
        "passes AUTH both ways before CONNACK, and nothing else from the client but DISCONNECT",
    ),
    rule(
        121,
        V5,
        "refuses AUTH when CONNECT had no Authentication Method",
    ),
    rule(
        122,
        V5,
        "demands the same Authentication Method everywhere, and none where hooks replace credentials",
    ),
    rule(
        123,
        V5,
        "passes a re-authentication where no hooks would miss it, and refuses it elsewhere",
    ),
    rule(
        124,
        V5,
        "refuses codes of AUTH that the other direction has",
    ),
    // WebSocket
    rule(125, ALL, "refuses text frames"),
    rule(
        126,
        ALL,
        "takes frames for a stream of bytes, from the first behind the upgrade on",
    ),
    rule(
        127,
        ALL,
        "upgrades only clients that offer an MQTT subprotocol, and names one that they offered",
    ),
];

const fn elsewhere(
    file: &'static str,
    name: &'static str,
    rules: &'static [u8],
    versions: &'static [&'static str],
) -> Elsewhere {
    Elsewhere {
        file,
        name,
        rules,
        versions,
    }
}

impl Elsewhere {
    /// What the table calls it.
    pub(crate) fn path(&self) -> String {
        format!("{}: {}", self.file, self.name)
    }
}

const LOWERED: &str = "crates/mproxy-session/tests/session/lowered.rs";
const EXPIRY: &str = "crates/mproxy-session/tests/session/expiry.rs";
const ANNOUNCED: &str = "crates/mproxy-session/tests/session/announced.rs";
const AUTHENTICATION: &str = "crates/mproxy-session/tests/session/authentication.rs";
const SESSION: &str = "crates/mproxy-session/tests/session/rules.rs";

/// See [`Elsewhere`].
pub(crate) const ELSEWHERE: &[Elsewhere] = &[
    elsewhere(
        SESSION,
        "no_publish_overtakes_one_that_a_hook_holds",
        &[70],
        ALL,
    ),
    elsewhere(
        SESSION,
        "a_hook_that_waits_starves_no_keep_alive",
        &[38, 73],
        V5,
    ),
    elsewhere(
        SESSION,
        "a_hook_that_waits_starves_no_keep_alive",
        &[38],
        V3,
    ),
    elsewhere(
        SESSION,
        "hooks_replace_credentials_within_their_bounds",
        &[42, 54],
        ALL,
    ),
    elsewhere(
        SESSION,
        "a_rewritten_payload_has_its_own_length",
        &[76],
        ALL,
    ),
    elsewhere(SESSION, "a_rewritten_payload_has_its_own_format", &[76], V5),
    elsewhere(
        LOWERED,
        "a_publish_that_is_made_qos_0_is_answered_by_the_proxy",
        &[74],
        ALL,
    ),
    elsewhere(LOWERED, "retain_is_one_bit_and_nothing_else", &[75], ALL),
    elsewhere(EXPIRY, "what_a_hook_holds_back_grows_older", &[79], V5),
    elsewhere(
        EXPIRY,
        "what_stands_behind_a_held_packet_grows_older_too",
        &[79],
        V5,
    ),
    elsewhere(
        EXPIRY,
        "what_waits_for_a_slow_receiver_grows_older",
        &[79],
        V5,
    ),
    elsewhere(
        EXPIRY,
        "what_expires_while_it_waits_is_dropped_and_acknowledged",
        &[79],
        V5,
    ),
    elsewhere(
        LOWERED,
        "a_subscription_is_lowered_and_never_raised",
        &[98],
        ALL,
    ),
    elsewhere(
        ANNOUNCED,
        "a_publish_that_only_the_proxy_made_too_large_does_not_end_the_session",
        &[117],
        V5,
    ),
    elsewhere(
        AUTHENTICATION,
        "credentials_of_a_hook_beside_a_method_let_nobody_in",
        &[122],
        V5,
    ),
];

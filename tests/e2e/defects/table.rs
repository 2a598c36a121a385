//! Which tests show the absence of which defect. The tests are wherever they belong.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::tools::root;

/// A defect, and the names of the tests that show its absence.
const DEFECTS: &[(&str, &[&str])] = &[
    // a will was shown to no authorization
    (
        "S1",
        &["a_will_that_may_not_be_published_is_refused_at_connect"],
    ),
    // no state machine: packets before CONNECT, a second CONNECT
    (
        "S2",
        &[
            "nothing_but_one_connect_begins_a_session",
            "a_second_connect_reaches_neither_hook_nor_broker",
        ],
    ),
    // the broker was dialled for everybody
    (
        "S3",
        &["nobody_is_dialled_for_who_does_not_say_who_they_are"],
    ),
    // no deadlines
    (
        "S4",
        &[
            "whoever_does_not_say_who_they_are_is_sent_away",
            "a_packet_that_is_not_finished_ends_its_session",
            "a_broker_that_swallows_packets_costs_the_time_out_and_no_more",
        ],
    ),
    // memory was reserved by an announced length
    (
        "S5",
        &[
            "a_length_reserves_no_memory",
            "a_packet_that_is_too_large_ends_its_session_at_its_length",
        ],
    ),
    // lengths that lie were believed
    (
        "S6",
        &["fields_that_claim_more_than_there_is_end_the_session"],
    ),
    // MQTT 5 was read as if it was 3.1.1
    (
        "S7",
        &[
            "tcp_to_tcp",
            "packets_are_changed_in_their_topics_and_nowhere_else",
        ],
    ),
    // every origin was let in, and hooks heard nothing of the request
    (
        "S9",
        &[
            "what_is_no_upgrade_for_mqtt_is_told_what_it_should_be",
            "keeps_what_hooks_decide_by",
        ],
    ),
    // payloads were logged
    ("S12", &["secrets_are_never_written_down_at_any_level"]),
    // a refused CONNECT got no CONNACK
    (
        "B1",
        &[
            "a_will_that_may_not_be_published_is_refused_at_connect",
            "a_refusal_is_told_in_the_words_of_the_version",
        ],
    ),
    // a refused PUBLISH or SUBSCRIBE cost the connection
    (
        "B2",
        &[
            "a_publish_that_is_refused_is_answered_as_its_version_and_qos_want_it",
            "filters_are_refused_one_by_one_and_answered_in_order",
        ],
    ),
    // credentials could neither be added nor removed
    ("B3", &["credentials_can_be_added_and_removed"]),
    // a changed delivery was not changed, a refused one cost the connection
    (
        "B4",
        &[
            "a_tenant_sees_topics_of_its_own_only",
            "deliveries_that_may_not_be_read_do_not_stop_those_that_may",
            "a_delivery_that_is_dropped_is_acknowledged_to_the_broker",
        ],
    ),
    // one hook for filters and deliveries, which could not tell them apart
    (
        "B5",
        &[
            "hooks_are_told_the_direction_and_the_version",
            "a_rule_about_deliveries_is_enforced_in_strict_mode_too",
        ],
    ),
    // a changed filter could not be left again
    (
        "B6",
        &[
            "unsubscribe_is_mapped_like_subscribe",
            "retained_messages_wills_and_unsubscribe_are_mapped_like_the_rest",
        ],
    ),
    // adding a filter killed the process, removing one misaligned the codes
    (
        "B7",
        &[
            "filters_can_be_added_and_all_refused",
            "filters_are_refused_one_by_one_and_answered_in_order",
        ],
    ),
    // hooks saw neither QoS nor version nor peer
    (
        "B8",
        &[
            "hooks_are_told_the_direction_and_the_version",
            "keeps_what_hooks_decide_by",
        ],
    ),
    // no way to drop one packet; trying killed the process
    (
        "B9",
        &["a_discarded_publish_is_acknowledged_as_if_it_had_arrived"],
    ),
    // "connected" was said before the broker agreed, "disconnected" of who never connected
    (
        "B10",
        &[
            "who_was_refused_was_never_connected",
            "connect_comes_with_the_brokers_yes_and_not_before",
        ],
    ),
    // a slow hook stopped everything
    (
        "B11",
        &[
            "a_hook_that_waits_holds_up_its_own_direction_only",
            "a_hook_that_takes_too_long_ends_the_session",
        ],
    ),
    // a panic in a hook killed everybody
    (
        "B12",
        &[
            "a_packet_hook_that_panics_ends_its_own_session_only",
            "many_panics_leave_a_working_thread",
        ],
    ),
    // goroutines and sockets that stayed
    ("L1", &["nothing_is_left_of_sessions_that_are_over"]),
    // out of descriptors: a spinning accept loop and a flood of lines
    ("L2", &["without_descriptors_it_waits_and_goes_on"]),
    // every orderly end was a warning, and some named the wrong side
    ("L3", &["an_end_is_written_down_as_what_it_was"]),
    ("L4", &["an_end_is_written_down_as_what_it_was"]),
    // a slow reader held its session for ever
    (
        "L5",
        &[
            "a_client_that_does_not_read_is_given_up",
            "a_side_that_does_not_read_costs_a_bounded_amount_of_memory",
        ],
    ),
    // the default path was none, and prefixes were taken for the path
    (
        "W1",
        &["what_is_no_upgrade_for_mqtt_is_told_what_it_should_be"],
    ),
    // the subprotocol was always `mqtt`
    (
        "W2",
        &[
            "the_answer_names_what_was_offered",
            "a_broker_behind_websocket_is_asked_for_the_clients_subprotocol",
        ],
    ),
    // text was taken, messages were unbounded, nobody said goodbye
    (
        "W3",
        &[
            "frames_that_mqtt_does_not_have_end_the_connection_with_a_word",
            "message_size_is_bounded_over_all_fragments",
            "the_end_is_said_in_frames_too",
        ],
    ),
    // a stop did not reach WebSocket sessions
    (
        "W4",
        &[
            "the_end_is_said_in_frames_too",
            "a_signal_sends_everybody_away_gently",
        ],
    ),
    // SIGTERM killed
    (
        "O1",
        &[
            "a_signal_sends_everybody_away_gently",
            "while_it_drains_it_is_alive_and_not_ready_and_lets_nobody_in",
        ],
    ),
    // eleven listeners, all mandatory; documented settings that were none
    (
        "O2",
        &[
            "an_empty_file_is_a_proxy",
            "two_flags_are_enough",
            "mistakes_have_exit_codes_of_their_own",
        ],
    ),
    // no metrics, no health, no limits, no addresses in the log
    (
        "O3",
        &[
            "traffic_is_counted_at_once_and_exactly",
            "ready_as_long_as_there_is_a_broker_and_alive_without",
            "no_more_clients_than_a_listener_and_the_server_take",
            "the_events_of_a_session_say_who_and_what_and_why",
        ],
    ),
    // packets were taken apart and put together again, with losses
    (
        "O4",
        &[
            "what_is_not_changed_arrives_byte_for_byte",
            "tapped_and_forwarded_is_unchanged_too",
        ],
    ),
];

#[test]
fn every_defect_has_tests_that_exist() {
    let mut tests = BTreeSet::new();
    for folder in ["crates", "bins", "tests/e2e"] {
        collect(&root().join(folder), &mut tests);
    }
    assert!(tests.len() > 100, "{}", tests.len());
    for (defect, names) in DEFECTS {
        assert!(!names.is_empty(), "{defect}");
        for name in *names {
            assert!(tests.contains(*name), "{defect}: there is no test {name}");
        }
    }
}

/// The names of all functions that a test attribute is above.
fn collect(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).expect("source is text");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[") {
                    is_test |= line.contains("test]") || line.contains("test(");
                } else if let Some((_, rest)) = line.split_once("fn ") {
                    let name = rest.split(['(', '<']).next().unwrap_or_default();
                    if std::mem::take(&mut is_test) {
                        tests.insert(name.to_owned());
                    }
                }
            }
        }
    }
}

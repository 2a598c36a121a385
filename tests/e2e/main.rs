//! End to end tests: the real programs, before and behind real peers.
//!
//! One binary with modules, so that it is linked once. What the tests run must be installed:
//! `tests/setup.sh`.

use mproxy_tests::tools;

mod access_log;
mod acl;
mod admission;
mod bypass;
mod client_id;
mod clients;
mod conns;
mod decisions;
mod defects;
mod demo;
mod denied;
mod deploy;
mod dialects;
mod drain;
mod drain_undo;
mod faults;
mod fleet;
mod handover;
mod health;
mod hostile;
mod latencies;
mod limits;
mod log_floods;
mod log_lost;
mod loss;
mod matrix;
mod memory;
mod peers;
mod prometheus;
mod property_edit;
mod proxy_protocol;
mod publish_rules;
mod queue;
mod readiness;
mod recordings;
mod refusal_lines;
mod refusals;
mod reload;
mod sessions;
mod signals;
mod start;
mod stunnel;
mod tables;
mod tls;
mod tls_lists;
mod topic_map;
mod transparent;
mod unix;
mod websocket;
mod wills;

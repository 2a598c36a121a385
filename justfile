# Recipes are the steps of CI: `just clippy` does what CI does. `just` alone lists them.

_list:
    @just --list

# everything that a change must pass, in the order of CI
ci:
    .ci/run

# format
fmt:
    cargo fmt --all

# is it formatted
fmt-check:
    .ci/run fmt

# lints of Rust and of shell scripts
lint:
    .ci/run clippy setup shell

# each crate without its neighbours
alone:
    .ci/run alone

# documentation, without warnings
doc:
    .ci/run doc

# licences, sources and bans of the dependencies
deny:
    .ci/run setup deny

# dependencies that no code uses
unused:
    .ci/run setup unused

# known vulnerabilities of the dependencies (needs a network)
advisories:
    cargo deny check advisories

# all tests; arguments are those of `cargo nextest run`
test *args:
    tests/run {{args}}

# end to end tests only
e2e *args:
    tests/run -p mproxy-tests {{args}}

# every fuzz target for a few seconds
fuzz-smoke:
    .ci/run fuzz

# one fuzz target: just fuzz packet 3600
fuzz target seconds="600":
    FUZZ_TARGET={{target}} FUZZ_SECONDS={{seconds}} .ci/run fuzz

# mproxy beside HAProxy and nginx, ten minutes; `just bench --quick` for two
bench *args:
    cargo build --release -p mproxy-server
    cargo run --release -p mproxy-load -- bench {{args}}

# a broker, the proxy and talking devices
demo *args:
    cargo run -p mproxy-server -- demo {{args}}

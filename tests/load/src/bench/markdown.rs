//! The report for people.

use std::fmt::{self, Write};

use super::bar::Bar;
use super::report::{LoadReport, PeerReport, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} rounds in turns, {} s a load, {} CPUs shared by generator, proxy and sink. \
             Medians; in parentheses the smallest and the largest round; ratios are within a \
             round.",
            self.rounds, self.seconds, self.cpus
        )?;
        if let Some(load) = self.load_average.filter(|load| *load > BUSY) {
            writeln!(
                f,
                "\nThe machine was busy: the load average was {load:.1} before the first load."
            )?;
        }
        for skipped in &self.skipped {
            writeln!(f, "\nSkipped: {}, {}", skipped.peer, skipped.why)?;
        }
        for load in &self.loads {
            write_load(f, load)?;
        }
        let (met, all) = self.bars();
        writeln!(f, "\n{met} of {all} bars met.")
    }
}

/// From this load average on, the report warns.
const BUSY: f64 = 0.5;

fn write_load(f: &mut fmt::Formatter<'_>, load: &LoadReport) -> fmt::Result {
    let has = |column: fn(&PeerReport) -> bool| load.peers.iter().any(column);
    let columns: Vec<Column> = COLUMNS
        .into_iter()
        .filter(|column| has(column.is_used))
        .collect();

    writeln!(f, "\n### {}: {}\n", load.load, load.title)?;
    write!(f, "| | {} |", load.unit)?;
    for column in &columns {
        write!(f, " {} |", column.title)?;
    }
    write!(f, "\n|---|---|")?;
    for _ in &columns {
        write!(f, "---|")?;
    }
    writeln!(f)?;
    for peer in &load.peers {
        write!(f, "| {} | {} |", peer.peer, value(peer))?;
        for column in &columns {
            write!(f, " {} |", (column.cell)(peer))?;
        }
        writeln!(f)?;
    }
    for peer in &load.peers {
        if let Some(error) = peer.errors.first() {
            let count = peer.errors.len();
            writeln!(f, "\n{} failed in {count} rounds: {error}", peer.peer)?;
        }
    }
    Ok(())
}

/// A column that is shown if a peer has something to show in it.
#[derive(Clone, Copy)]
struct Column {
    title: &'static str,
    is_used: fn(&PeerReport) -> bool,
    cell: fn(&PeerReport) -> String,
}

const COLUMNS: [Column; 8] = [
    Column {
        title: "x HAProxy",
        is_used: |peer| peer.times_haproxy.is_some(),
        cell: |peer| ratio(peer.times_haproxy),
    },
    Column {
        title: "bar",
        is_used: |peer| peer.bar.is_some(),
        cell: bar,
    },
    Column {
        title: "x mproxy",
        is_used: |peer| peer.times_mproxy.is_some(),
        cell: |peer| ratio(peer.times_mproxy),
    },
    Column {
        title: "a second",
        is_used: |peer| rate(peer).is_some(),
        cell: |peer| figure(rate(peer)),
    },
    Column {
        title: "p50 us",
        is_used: |peer| p50(peer).is_some(),
        cell: |peer| figure(p50(peer)),
    },
    Column {
        title: "p99 us",
        is_used: |peer| p99(peer).is_some(),
        cell: |peer| figure(p99(peer)),
    },
    Column {
        title: "p999 us",
        is_used: |peer| p999(peer).is_some(),
        cell: |peer| figure(p999(peer)),
    },
    Column {
        title: "generator + sink us",
        is_used: |peer| rate(peer).is_some(),
        cell: |peer| {
            let generator = peer.median_of(|sample| sample.generator_us);
            let sink = peer.median_of(|sample| sample.sink_us);
            let both = generator.zip(sink);
            both.map(|(generator, sink)| {
                format!("{} + {}", figure(Some(generator)), figure(Some(sink)))
            })
            .unwrap_or_default()
        },
    },
];

fn value(peer: &PeerReport) -> String {
    let mut text = figure(peer.value);
    if let Some((least, most)) = peer.range()
        && peer.samples.len() > 1
    {
        // Writing to a string cannot fail.
        let _ = write!(text, " ({} to {})", figure(Some(least)), figure(Some(most)));
    }
    text
}

fn bar(peer: &PeerReport) -> String {
    let Some(bar) = peer.bar else {
        return String::new();
    };
    let bound = match bar {
        Bar::TimesHaproxy(most) => format!("{most:.2} x"),
        Bar::TimesMproxy(most) => format!("{most:.2} x mproxy"),
        Bar::AtMost(most) => format!("{most:.1}"),
    };
    match peer.passed {
        Some(true) => format!("{bound} ✓"),
        Some(false) => format!("{bound} ✗"),
        None => format!("{bound} ?"),
    }
}

fn rate(peer: &PeerReport) -> Option<f64> {
    peer.median_of(|sample| sample.rate)
}

fn p50(peer: &PeerReport) -> Option<f64> {
    peer.median_of(|sample| sample.latency.map(|latency| latency.p50_us))
}

fn p99(peer: &PeerReport) -> Option<f64> {
    peer.median_of(|sample| sample.latency.map(|latency| latency.p99_us))
}

fn p999(peer: &PeerReport) -> Option<f64> {
    peer.median_of(|sample| sample.latency.map(|latency| latency.p999_us))
}

fn ratio(value: Option<f64>) -> String {
    value.map(|value| format!("{value:.2}")).unwrap_or_default()
}

/// About three digits; large figures with separators.
fn figure(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value < 1.0 => format!("{value:.3}"),
        Some(value) if value < 10.0 => format!("{value:.2}"),
        Some(value) if value < 100.0 => format!("{value:.1}"),
        Some(value) => grouped(value.round() as u64),
    }
}

fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::{Bench, Sample};
    use crate::error::Error;
    use crate::load::{Load, Options};
    use crate::peer::{Peer, Variant};
    use crate::stop::Stop;

    fn sample(value: f64) -> Sample {
        Sample {
            round: 0,
            value: Some(value),
            rate: Some(1_234_567.0),
            latency: None,
            sink_us: Some(0.5),
            generator_us: Some(0.25),
        }
    }

    fn report() -> Report {
        let plain = Peer::Mproxy(Variant::Plain);
        let acl = Peer::Mproxy(Variant::Acl);
        let options = Options {
            duration: Duration::from_secs(1),
            idle: 10,
            stop: Stop::new(),
        };
        let bench = Bench {
            rounds: 3,
            loads: vec![Load::Closed],
            peers: vec![Peer::Haproxy, Peer::Nginx, plain, acl],
            options,
        };
        let mut report = Report::new(&bench);
        report.skip(Peer::Nginx, "not installed".to_owned());
        for (round, (haproxy, mproxy)) in [(10.0, 10.5), (20.0, 21.0), (30.0, 36.0)]
            .iter()
            .enumerate()
        {
            report.add(Load::Closed, Peer::Haproxy, round, Ok(sample(*haproxy)));
            report.add(Load::Closed, plain, round, Ok(sample(*mproxy)));
            report.add(Load::Closed, acl, round, Ok(sample(2.0 * mproxy)));
        }
        report.finish();
        report
    }

    #[test]
    fn ratios_bars_and_skipped_peers_are_shown() {
        let report = report();
        assert_eq!(report.bars(), (1, 2));
        assert!(report.is_complete());
        let text = report.to_string();
        let row = |start: &str| {
            let row = text.lines().find(|line| line.starts_with(start));
            row.unwrap_or_else(|| panic!("no {start} in {text}"))
                .to_owned()
        };
        let tail = " 1,234,567 | 0.250 + 0.500 |";
        assert_eq!(
            row("| haproxy"),
            format!("| haproxy | 20.0 (10.0 to 30.0) |  |  |  |{tail}")
        );
        let expected = format!("| mproxy | 21.0 (10.5 to 36.0) | 1.05 | 1.10 x ✓ |  |{tail}");
        assert_eq!(row("| mproxy |"), expected);
        let expected =
            format!("| mproxy-acl | 42.0 (21.0 to 72.0) | 2.10 | 1.15 x ✗ | 2.00 |{tail}");
        assert_eq!(row("| mproxy-acl"), expected);
        assert!(text.contains("Skipped: nginx, not installed"));
        assert!(!text.contains("| nginx"));
        assert!(text.ends_with("1 of 2 bars met.\n"));
    }

    #[test]
    fn a_failed_round_fails_the_bar() {
        let mut report = report();
        let plain = Peer::Mproxy(Variant::Plain);
        let lost = Error::Lost { sent: 5, seen: 4 };
        report.add(Load::Closed, plain, 3, Err(lost));
        report.finish();
        assert_eq!(report.bars(), (0, 2));
        assert!(!report.is_complete());
        let text = report.to_string();
        assert!(text.contains("mproxy failed in 1 rounds: 5 messages were sent, 4 arrived"));
    }

    #[test]
    fn figures_have_about_three_digits() {
        let shown = [0.0714, 1.234, 12.34, 123.4, 1234.0, 1_234_567.8].map(|v| figure(Some(v)));
        assert_eq!(
            shown,
            ["0.071", "1.23", "12.3", "123", "1,234", "1,234,568"]
        );
        assert_eq!(figure(None), "");
    }

    #[test]
    fn machines_get_the_same() {
        let json = serde_json::to_value(report()).unwrap();
        let mproxy = &json["loads"][0]["peers"][1];
        assert_eq!(mproxy["peer"], "mproxy");
        assert_eq!(mproxy["times_haproxy"], 1.05);
        assert_eq!(mproxy["bar"]["times_haproxy"], 1.1);
        assert_eq!(mproxy["passed"], true);
        assert_eq!(mproxy["samples"].as_array().unwrap().len(), 3);
    }
}

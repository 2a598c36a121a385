//! The two text formats and the choice between them.
//!
//! The encoder writes OpenMetrics. The classic Prometheus text format is the same apart from its
//! metadata: there the name of a counter family includes `_total`, and `# EOF` and `# UNIT` are
//! mere comments that `promtool check metrics` stumbles over.

/// A text format of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// The classic format, `text/plain; version=0.0.4`: for everyone who does not ask otherwise.
    PrometheusText,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` header prefers.
    ///
    /// OpenMetrics has to be asked for by name; a wildcard means the classic format.
    #[must_use]
    pub fn negotiate(accept: &str) -> Self {
        let (mut openmetrics, mut classic) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0, None);
            for parameter in parts {
                match parameter.split_once('=') {
                    // A weight that is not a number asks for nothing.
                    Some((key, value)) if key.eq_ignore_ascii_case("q") => {
                        quality = value.trim().parse::<f32>().unwrap_or(0.0);
                    }
                    Some((key, value)) if key.eq_ignore_ascii_case("version") => {
                        version = Some(value.trim_matches('"'));
                    }
                    _ => {}
                }
            }
            let wanted = if kind.eq_ignore_ascii_case("application/openmetrics-text") {
                if version.is_some_and(|version| version != OPENMETRICS_VERSION) {
                    continue;
                }
                &mut openmetrics
            } else if ["text/plain", "text/*", "*/*"]
                .iter()
                .any(|range| kind.eq_ignore_ascii_case(range))
            {
                &mut classic
            } else {
                continue;
            };
            *wanted = quality.max(*wanted);
        }
        if openmetrics > 0.0 && openmetrics >= classic {
            Self::OpenMetrics
        } else {
            Self::PrometheusText
        }
    }

    /// The value of the `Content-Type` header.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::PrometheusText => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Turns what the encoder wrote into this format.
    pub(super) fn finish(self, openmetrics: String) -> String {
        match self {
            Self::PrometheusText => classic(&openmetrics),
            Self::OpenMetrics => openmetrics,
        }
    }
}

fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    // HELP comes before TYPE, which decides about its suffix.
    let mut help = None;
    for line in openmetrics.lines() {
        let Some(metadata) = line.strip_prefix("# ") else {
            text.extend([line, "\n"]);
            continue;
        };
        match metadata.split_once(' ') {
            Some(("HELP", rest)) => help = rest.split_once(' '),
            Some(("TYPE", rest)) => {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
                let suffix = if kind == "counter" { "_total" } else { "" };
                if let Some((_, about)) = help.take() {
                    text.extend(["# HELP ", name, suffix, " ", about, "\n"]);
                }
                text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            _ => {}
        }
    }
    text
}

const OPENMETRICS_VERSION: &str = "1.0.0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_header_decides() {
        let cases = [
            ("", Format::PrometheusText),
            ("*/*", Format::PrometheusText),
            ("text/html", Format::PrometheusText),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=0.0.1",
                Format::PrometheusText,
            ),
            ("application/openmetrics-text;q=0", Format::PrometheusText),
            (
                "application/openmetrics-text;q=zero",
                Format::PrometheusText,
            ),
            (
                "application/openmetrics-text;q=0.3,text/plain;q=0.5",
                Format::PrometheusText,
            ),
            // Prometheus 2.42.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                 version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            // Prometheus 3 configured for the classic format.
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.1",
                Format::PrometheusText,
            ),
        ];
        for (accept, format) in cases {
            assert_eq!(Format::negotiate(accept), format, "{accept}");
        }
    }

    #[test]
    fn classic_format_names_counters_in_full() {
        let openmetrics = "# HELP a_b Help for a.\n# TYPE a_b counter\n# UNIT a_b b\n\
            a_b_total{x=\"# y\"} 1\n# HELP g G.\n# TYPE g gauge\ng 2\n# EOF\n";
        assert_eq!(
            classic(openmetrics),
            "# HELP a_b_total Help for a.\n# TYPE a_b_total counter\na_b_total{x=\"# y\"} 1\n\
             # HELP g G.\n# TYPE g gauge\ng 2\n"
        );
    }
}

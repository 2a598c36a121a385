//! What is counted per responder of OCSP.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::shown;
use crate::labels::OcspResult;

/// The counters of one responder; clones share them.
#[derive(Debug, Clone)]
pub struct OcspMetrics {
    requests: Arc<[Counter; OcspResult::ALL.len()]>,
    cache_hits: Counter,
}

impl OcspMetrics {
    pub(super) fn new(families: &Families, url: &str) -> Self {
        let url: Arc<str> = url.into();
        let requests = std::array::from_fn(|i| {
            families.requests.get_or_create_owned(&ResultLabels {
                url: Arc::clone(&url),
                result: OcspResult::ALL[i],
            })
        });
        Self {
            requests: Arc::new(requests),
            cache_hits: families.cache_hits.get_or_create_owned(&Labels { url }),
        }
    }

    /// Counts a request, by what came of it.
    pub fn asked(&self, result: OcspResult) {
        self.requests[result as usize].inc();
    }

    /// Counts a certificate of a client about which there was an answer already.
    pub fn knew(&self) {
        self.cache_hits.inc();
    }
}

#[derive(Debug)]
pub(super) struct Families {
    requests: Family<ResultLabels, Counter>,
    cache_hits: Family<Labels, Counter>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    url: Arc<str>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    url: Arc<str>,
    result: OcspResult,
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            requests: shown(
                registry,
                "mproxy_tls_ocsp_requests",
                "Requests to an OCSP responder, by what came of them",
                Family::default(),
            ),
            cache_hits: shown(
                registry,
                "mproxy_tls_ocsp_cache_hits",
                "Certificates of clients about which an answer of the responder was there already",
                Family::default(),
            ),
        }
    }

    /// Takes out the series of a responder.
    pub(super) fn forget(&self, url: &str) {
        let url: Arc<str> = url.into();
        for &result in OcspResult::ALL {
            let url = Arc::clone(&url);
            self.requests.remove(&ResultLabels { url, result });
        }
        self.cache_hits.remove(&Labels { url });
    }
}

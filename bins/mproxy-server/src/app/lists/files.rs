//! Revocation lists in files, as operators see them.

use std::collections::BTreeMap;

use arc_swap::ArcSwap;
use mproxy_admin::Crl;
use mproxy_transport::RevocationFile;

/// The files in effect.
#[derive(Debug, Default)]
pub(crate) struct ListFiles(ArcSwap<BTreeMap<String, File>>);

/// A file, of a directory each in it.
#[derive(Clone, Debug)]
struct File {
    /// The tables that name it.
    used_by: Vec<String>,
    /// When the list in it was made that expires first, and when it does.
    updates: [i64; 2],
}

impl ListFiles {
    /// Shows those of these tables from now on.
    pub(crate) fn follow<'a>(&self, tables: impl Iterator<Item = (String, &'a [RevocationFile])>) {
        let mut files = BTreeMap::new();
        for (table, lists) in tables {
            for list in lists {
                let file = files.entry(list.file.display().to_string());
                let file = file.or_insert_with(|| File {
                    used_by: Vec::new(),
                    updates: [list.this_update, list.next_update],
                });
                // a side may name it twice
                if file.used_by.last() != Some(&table) {
                    file.used_by.push(table.clone());
                }
            }
        }
        self.0.store(files.into());
    }

    pub(crate) fn report(&self) -> Vec<Crl> {
        let files = self.0.load();
        let report = files
            .iter()
            .map(|(file, it)| Crl::new(file.clone(), it.used_by.clone(), Some(it.updates)));
        report.collect()
    }
}

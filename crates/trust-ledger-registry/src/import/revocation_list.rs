//! CRLs.

use super::pipeline::Pipeline;
use crate::error::Result;
use crate::intake::Position;
use crate::registry::{RecordedRevocations, Told, Verdict};

impl Pipeline<'_> {
    /// Records what a CRL says, if its issuer signed it or is not known.
    pub(super) async fn record_list(&mut self, position: &Position, der: Vec<u8>) -> Result<()> {
        let source = self.source_of(position);
        let registry = self.registry;
        let mut told = |told| match told {
            Told::Recorded(recorded) => self.count(&recorded),
            Told::Refused(reason) => self.summary.refuse(position, reason),
            Told::PassedOver(count) => {
                self.summary.skip("a CRL entry for another issuer, who did not delegate it", count);
            }
        };
        match registry.record_list(der, &source, &mut told).await? {
            Verdict::Checked => {}
            Verdict::Unchecked { kept } => self.summary.unchecked(position, kept),
            Verdict::Forged => self.summary.forged(position),
            Verdict::Refused(reason) => self.summary.refuse(position, reason),
        }
        Ok(())
    }

    /// Counts what was recorded, and reports it.
    pub(super) fn count(&mut self, recorded: &RecordedRevocations) {
        self.summary.revocations += recorded.recorded + recorded.changed;
        self.summary.revocations_known += recorded.known;
        self.summary.revocations_outdated += recorded.outdated;
        self.summary.holds_lifted += recorded.lifted;
        self.report();
    }
}

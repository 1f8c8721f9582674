//! Taking down what is asked for.

use super::{BindingCore, Prepared};
use std::borrow::Cow;
use std::sync::Arc;

impl BindingCore {
    /// What is asked for is to be told.
    pub fn is_recording(&self) -> bool {
        self.recorder.is_some()
    }

    /// Takes the reads of one command down, which is to happen once, whoever answers them.
    pub fn record(&self, words: &[Cow<'_, [u8]>]) {
        let Some(recorder) = self.recorder.as_deref() else { return };
        // A command of one word beside its name is a read of that key, and most are not sampled.
        if matches!(words, [_, key] if !recorder.is_sampled(key)) {
            return;
        }
        // Links live as long as the recorder.
        let place = Arc::as_ptr(&self.link) as u64;
        for read in self.plan(words).into_iter().flat_map(|plan| plan.reads) {
            let shape = read.cacheable.shape | self.decoding_bits;
            let key = read.key();
            recorder.record(place, shape, key, &Prepared::new(read).args);
        }
    }

    /// The same for each of several.
    pub(super) fn record_all(&self, commands: &[Option<super::Words<'_>>]) {
        commands.iter().flatten().for_each(|words| self.record(words));
    }
}

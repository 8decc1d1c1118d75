//! The form of the engine's state in a checkpoint: everything that later iterations and the posterior depend on.

use vi_run::executor::{CheckpointError, Decoder, Encoder, Stored};

use super::{ChainBuffers, Engine};

/// Of the chains' buffers a checkpoint needs what a copy needs: the covariances.
impl Stored for ChainBuffers {
    fn store(&self, encoder: &mut Encoder) {
        self.shared.store(encoder);
    }

    fn restore(decoder: &mut Decoder<'_>) -> Result<Self, CheckpointError> {
        Ok(Self { shared: Stored::restore(decoder)?, ..Self::default() })
    }
}

impl Engine {
    /// Writes the state; model, plan and data are those of the run that goes on.
    pub(crate) fn encode(&self, encoder: &mut Encoder) {
        // Named one by one, so that a new field is not forgotten here.
        let Self {
            lowered: _,
            plan: _,
            reader: _,
            starts: _,
            moments: _,
            statistics,
            natural,
            entropy,
            element_entropy,
            summaries,
            coefficients,
            packed,
            fused,
            stored,
            affine,
            chains,
            iteration,
        } = self;
        for numbers in [statistics, natural, stored] {
            numbers.store(encoder);
        }
        for numbers in [element_entropy, summaries, coefficients, packed, fused] {
            numbers.store(encoder);
        }
        entropy.store(encoder);
        affine.store(encoder);
        chains.store(encoder);
        iteration.store(encoder);
    }

    /// Reads what [`Engine::encode`] wrote.
    pub(crate) fn decode(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        for numbers in [&mut self.statistics, &mut self.natural, &mut self.stored] {
            *numbers = Stored::restore(decoder)?;
        }
        for numbers in
            [&mut self.element_entropy, &mut self.summaries, &mut self.coefficients, &mut self.packed, &mut self.fused]
        {
            *numbers = Stored::restore(decoder)?;
        }
        self.entropy = Stored::restore(decoder)?;
        self.affine = Stored::restore(decoder)?;
        self.chains = Stored::restore(decoder)?;
        self.iteration = Stored::restore(decoder)?;
        Ok(())
    }
}

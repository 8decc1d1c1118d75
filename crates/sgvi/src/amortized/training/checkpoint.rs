//! What a training run keeps in a checkpoint, and how it goes on from one to the same bits.

use super::{Snapshot, Term, Training};
use crate::network::aligned::Aligned;
use vi_run::executor::{CheckpointError, Decoder, Encoder, Resumable};

impl Resumable for Training<'_> {
    fn save(&self, encoder: &mut Encoder) {
        for values in [&self.trainer.parameters, &self.trainer.first, &self.trainer.second] {
            encoder.f32_slice(values);
        }
        for values in [&self.snapshot.parameters, &self.snapshot.first, &self.snapshot.second, &self.best_parameters] {
            encoder.f32_slice(values);
        }
        let (start, length) = self.cool_down.unwrap_or((0, 0));
        for value in
            [self.step, self.optimizer_step, start, length, self.recoveries, self.evaluations_without_gain as u64]
        {
            encoder.u64(value);
        }
        encoder.bool(self.converged_early);
        for value in [self.last_elbo, self.roughness, self.rate_factor, self.best_held_out] {
            encoder.f64(value);
        }
        encoder.f64_slice(&self.sums);
        encoder.f64_slice(&self.window.iter().copied().collect::<Vec<_>>());
        let flat: Vec<f64> = self
            .terms
            .iter()
            .flat_map(|t| [t.step as f64, t.elbo, t.log_likelihood, t.divergence, t.beta, t.learning_rate, t.held_out])
            .collect();
        encoder.f64_slice(&flat);
        if let Some(search) = &self.search {
            search.save(encoder);
        }
    }

    fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        self.trainer.parameters = Aligned::of(&decoder.f32_vec()?);
        self.trainer.first = Aligned::of(&decoder.f32_vec()?);
        self.trainer.second = Aligned::of(&decoder.f32_vec()?);
        self.snapshot =
            Snapshot { parameters: decoder.f32_vec()?, first: decoder.f32_vec()?, second: decoder.f32_vec()? };
        self.best_parameters = decoder.f32_vec()?;
        self.step = decoder.u64()?;
        self.optimizer_step = decoder.u64()?;
        let (start, length) = (decoder.u64()?, decoder.u64()?);
        self.cool_down = (length > 0).then_some((start, length));
        self.recoveries = decoder.u64()?;
        self.evaluations_without_gain = decoder.u64()? as usize;
        self.converged_early = decoder.bool()?;
        self.last_elbo = decoder.f64()?;
        self.roughness = decoder.f64()?;
        self.rate_factor = decoder.f64()?;
        self.best_held_out = decoder.f64()?;
        decoder.f64_into(&mut self.sums)?;
        self.window = decoder.f64_vec()?.into();
        self.terms = decoder
            .f64_vec()?
            .chunks_exact(7)
            .map(|t| Term {
                step: t[0] as u64,
                elbo: t[1],
                log_likelihood: t[2],
                divergence: t[3],
                beta: t[4],
                learning_rate: t[5],
                held_out: t[6],
            })
            .collect();
        match &mut self.search {
            Some(search) => search.load(decoder),
            None => Ok(()),
        }
    }
}

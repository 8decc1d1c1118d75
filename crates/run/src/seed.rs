//! Independent seeds derived from the one seed of a run.

/// The seed of stream `stream` (a restart, a purpose) of a run with seed `seed`.
///
/// Two rounds of the SplitMix64 output function (Steele, Lea & Flood 2014): different (seed, stream) pairs give seeds that
/// share no visible structure, so generators started from them may be treated as independent.
#[must_use]
pub fn derive_seed(seed: u64, stream: u64) -> u64 {
    mix(mix(seed) ^ stream.wrapping_mul(0xd134_2543_de82_ef95))
}

/// The SplitMix64 finaliser after one Weyl step.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_mixer_is_splitmix64() {
        // First outputs of the reference implementation (Vigna, splitmix64.c) started at 0 and at 1234567.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn neighbouring_seeds_and_streams_do_not_collide() {
        let seeds: HashSet<u64> =
            (0..300).flat_map(|seed| (0..300).map(move |stream| derive_seed(seed, stream))).collect();
        assert_eq!(seeds.len(), 300 * 300);
    }
}

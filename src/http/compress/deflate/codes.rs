//! Codes of symbols by their frequencies: Huffman's, none longer than it may be.

/// How many lengths a code may have: 0, for none, to 15.
const LENGTHS: usize = 16;

/// The codes of symbols 0, 1, …
#[derive(Clone, Debug)]
pub(super) struct Codes<const N: usize> {
    /// Bits of each; 0 for a symbol that has none.
    pub(super) lengths: [u8; N],
    /// Each with its first bit lowest, and its length from bit 16 on.
    packed: [u32; N],
}

impl<const N: usize> Codes<N> {
    /// Codes of these lengths (RFC 1951, 3.2.2): shorter ones come before longer ones, and those of the same length are in the order of
    /// their symbols.
    pub(super) fn of_lengths(lengths: [u8; N]) -> Self {
        let mut counts = [0u32; LENGTHS];
        lengths.iter().for_each(|length| counts[usize::from(*length)] += 1);
        counts[0] = 0;
        let mut next = [0u32; LENGTHS];
        for length in 1..LENGTHS {
            next[length] = (next[length - 1] + counts[length - 1]) << 1;
        }
        let packed = lengths.map(|length| {
            if length == 0 {
                return 0;
            }
            let next = &mut next[usize::from(length)];
            let code = next.reverse_bits() >> (u32::BITS - u32::from(length));
            *next += 1;
            code | u32::from(length) << 16
        });
        Codes { lengths, packed }
    }

    /// The codes with which symbols that are as frequent as this become shortest, of at most `longest` bits. A symbol that is alone has a
    /// code of one bit.
    pub(super) fn of_frequencies(frequencies: &[u32; N], longest: usize) -> Self {
        let mut symbols: Vec<(u32, usize)> =
            frequencies.iter().enumerate().map(|(symbol, frequency)| (*frequency, symbol)).collect();
        symbols.retain(|(frequency, _)| *frequency > 0);
        symbols.sort_unstable();
        let mut lengths = [0; N];
        let mut rarest = symbols.iter();
        let counts = limited(&depths(&symbols), longest);
        for (length, count) in counts.into_iter().enumerate().rev() {
            rarest.by_ref().take(count).for_each(|(_, symbol)| lengths[*symbol] = length as u8);
        }
        Codes::of_lengths(lengths)
    }

    /// A symbol's code, the first bit lowest, and how many bits it has.
    #[inline]
    pub(super) fn get(&self, symbol: usize) -> (u32, u32) {
        let packed = self.packed[symbol];
        (packed & 0xffff, packed >> 16)
    }

    /// How many bits symbols that are as frequent as this take.
    pub(super) fn bits(&self, frequencies: &[u32; N]) -> usize {
        self.lengths.iter().zip(frequencies).map(|(length, frequency)| usize::from(*length) * *frequency as usize).sum()
    }

    /// How many symbols there are up to the last one that has a code.
    pub(super) fn used(&self) -> usize {
        self.lengths.iter().rposition(|length| *length > 0).map_or(0, |last| last + 1)
    }
}

/// How deep the leaves of Huffman's tree are. They begin with the rarest; so do the nodes above them as they are made, which makes two
/// queues of what is to be joined next.
fn depths(leaves: &[(u32, usize)]) -> Vec<usize> {
    if leaves.len() < 2 {
        return vec![1; leaves.len()];
    }
    let nodes = 2 * leaves.len() - 1;
    let mut weights: Vec<u32> = leaves.iter().map(|(frequency, _)| *frequency).collect();
    let mut parents = vec![0; nodes];
    let (mut leaf, mut inner) = (0, leaves.len());
    for node in leaves.len()..nodes {
        let mut weight = 0;
        for _ in 0..2 {
            let is_leaf = leaf < leaves.len() && (inner == node || weights[leaf] <= weights[inner]);
            let child = if is_leaf { &mut leaf } else { &mut inner };
            weight += weights[*child];
            parents[*child] = node;
            *child += 1;
        }
        weights.push(weight);
    }
    let mut depths = vec![0; nodes];
    for node in (0..nodes - 1).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    depths.truncate(leaves.len());
    depths
}

/// How many codes of each length there are, none longer than `longest`. Leaves that are deeper come up, which are more codes than there
/// are; for each too many, one moves down beside another one that is higher up.
fn limited(depths: &[usize], longest: usize) -> [usize; LENGTHS] {
    let mut counts = [0; LENGTHS];
    depths.iter().for_each(|depth| counts[*depth.min(&longest)] += 1);
    // In units of the longest code: a code that is one bit shorter takes away two of them.
    let taken: usize = (1..=longest).map(|length| counts[length] << (longest - length)).sum();
    for _ in (1usize << longest)..taken {
        let above = (1..longest).rev().find(|length| counts[*length] > 0).unwrap_or_default();
        counts[longest] -= 1;
        counts[above] -= 1;
        counts[above + 1] += 2;
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of all codes as long as the longest one, what these take away.
    fn taken(lengths: &[u8]) -> f64 {
        lengths.iter().filter(|length| **length > 0).map(|length| 0.5f64.powi(i32::from(*length))).sum()
    }

    #[test]
    fn codes_of_the_specifications_example() {
        // RFC 1951, 3.2.2: symbols A to H.
        let codes = Codes::of_lengths([3, 3, 3, 3, 3, 2, 4, 4]);
        let read = |symbol| {
            let (code, length) = codes.get(symbol);
            (0..length).map(|bit| if code >> bit & 1 == 1 { '1' } else { '0' }).collect::<String>()
        };
        let all: Vec<String> = (0..8).map(read).collect();
        assert_eq!(all, ["010", "011", "100", "101", "110", "00", "1110", "1111"]);
    }

    #[test]
    fn frequent_symbols_have_short_codes() {
        assert_eq!(Codes::of_frequencies(&[1, 0, 1, 2, 4], 7).lengths, [3, 0, 3, 2, 1]);
        assert_eq!(Codes::of_frequencies(&[1, 1, 2, 4, 8, 16], 4).lengths, [4, 4, 4, 4, 2, 1]);
        assert_eq!(Codes::of_frequencies(&[0, 9, 0], 7).lengths, [0, 1, 0]);
        assert_eq!(Codes::of_frequencies(&[0; 3], 7).lengths, [0; 3]);
    }

    proptest! {
        /// Every code is used, none is longer than it may be, and without a limit it is as short as Shannon's bound allows it to be.
        #[test]
        fn codes_are_complete(shifts in proptest::array::uniform32(0u32..17), longest in 5usize..15) {
            let frequencies = shifts.map(|shift| (1 << shift) >> 1);
            let codes = Codes::of_frequencies(&frequencies, longest);
            let symbols = frequencies.iter().filter(|frequency| **frequency > 0).count();
            prop_assert!(codes.lengths.iter().all(|length| usize::from(*length) <= longest));
            for (length, frequency) in codes.lengths.iter().zip(frequencies) {
                prop_assert_eq!(*length > 0, frequency > 0);
            }
            if symbols > 1 {
                prop_assert_eq!(taken(&codes.lengths), 1.0);
            }
            let all = f64::from(frequencies.iter().sum::<u32>());
            let entropy: f64 = frequencies.iter().filter(|frequency| **frequency > 0)
                .map(|frequency| f64::from(*frequency) * (all / f64::from(*frequency)).log2()).sum();
            prop_assert!(codes.bits(&frequencies) as f64 >= entropy.floor());
            if longest == 14 {
                prop_assert!(codes.bits(&frequencies) as f64 <= entropy + all);
            }
        }
    }
}

//! How alike two texts are. The scores are Prometheus', to the last bit, so that both sort and cut alike.

/// What a match that is not the whole text is worth of a perfect one.
const PARTIAL: f64 = 0.999;

/// How well the characters of `pattern` are found in `text`, in their order: 1 where both are the same, 0 where they are not found.
///
/// Runs of neighbours count by the square of their length; a character between runs or before the first costs a part of the text, one
/// behind the last half of that. Each place where the pattern can begin is tried, and from there on the nearest characters are taken.
pub(super) fn subsequence(pattern: &str, text: &str) -> f64 {
    if pattern == text || pattern.is_empty() {
        return 1.0;
    }
    let raw = if pattern.is_ascii() && text.is_ascii() {
        best_runs(pattern.as_bytes(), text.as_bytes())
    } else {
        best_runs(&characters(pattern), &characters(text))
    };
    let longest = pattern.chars().count();
    raw.map_or(0.0, |raw| raw / (longest * longest) as f64 * PARTIAL)
}

fn characters(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// The best score of all places where the pattern may begin, if it is 0 or more.
fn best_runs<T: Copy + PartialEq>(pattern: &[T], text: &[T]) -> Option<f64> {
    let (first, last_start) = (pattern.first()?, text.len().checked_sub(pattern.len())?);
    let starts = text.get(..=last_start)?.iter().enumerate().filter(|(_, found)| *found == first);
    // Where it is not found from one place on, it is not from a later one.
    let scores = starts.map_while(|(start, _)| runs(pattern, text, start));
    scores.reduce(f64::max).filter(|best| *best >= 0.0)
}

/// The score of the pattern from `start` on, where its first character is.
fn runs<T: Copy + PartialEq>(pattern: &[T], text: &[T], start: usize) -> Option<f64> {
    let each = 1.0 / text.len() as f64;
    let (mut score, mut rest, mut at, mut end) = (0.0, pattern, start, 0);
    while let Some(next) = rest.first() {
        at += text.get(at..)?.iter().position(|found| found == next)?;
        let run = rest.iter().zip(text.get(at..)?).take_while(|(a, b)| a == b).count();
        if at > end {
            score -= (at - end) as f64 * each;
        }
        score += (run * run) as f64;
        at += run;
        end = at;
        rest = rest.get(run..)?;
    }
    if text.len() > end {
        score -= (text.len() - end) as f64 * each * 0.5;
    }
    Some(score)
}

/// The similarity of Jaro with Winkler's bonus for a common beginning: 1 where both are the same, 0 where they share nothing.
pub(super) fn jaro_winkler(a: &str, b: &str) -> f64 {
    if a == b {
        return 1.0;
    }
    let (a, b) = (characters(a), characters(b));
    let (short, long) = if a.len() > b.len() { (b, a) } else { (a, b) };
    let jaro = jaro(&short, &long);
    if jaro == 0.0 {
        return 0.0;
    }
    let beginning = short.iter().zip(&long).take(4).take_while(|(a, b)| a == b).count();
    jaro + beginning as f64 * 0.1 * (1.0 - jaro)
}

fn jaro(short: &[char], long: &[char]) -> f64 {
    // So far apart equal characters may be.
    let reach = (long.len() / 2).saturating_sub(1);
    let mut taken = vec![false; long.len()];
    let mut matched = Vec::new();
    for (at, character) in short.iter().enumerate() {
        let near = at.saturating_sub(reach)..(at + reach + 1).min(long.len());
        if let Some(found) = near.into_iter().find(|&other| !taken[other] && long[other] == *character) {
            taken[found] = true;
            matched.push(*character);
        }
    }
    if matched.is_empty() {
        return 0.0;
    }
    let others = long.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(character, _)| character);
    let transposed = matched.iter().zip(others).filter(|(a, b)| a != b).count() as f64;
    let matches = matched.len() as f64;
    let share = |of: &[char]| matches * (1.0 / of.len() as f64);
    (share(short) + share(long) + (matches - transposed * 0.5) / matches) / 3.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_count_and_gaps_cost() {
        assert_eq!(subsequence("up", "up"), 1.0);
        assert_eq!(subsequence("", "up"), 1.0);
        assert_eq!((subsequence("pu", "up"), subsequence("upper", "up"), subsequence("x", "")), (0.0, 0.0, 0.0));
        // Runs of 2 and 1, one character between them, one behind: 4 + 1 - 1/5 - 1/10.
        assert_eq!(subsequence("abd", "abcde"), (5.0 - 1.0 * 0.2 - 1.0 * 0.2 * 0.5) / 9.0 * 0.999);
        // The second place to begin is the better one.
        assert_eq!(subsequence("ab", "a_ab"), (4.0 - 2.0 * 0.25) / 4.0 * 0.999);
        assert_eq!(subsequence("äb", "äcb"), (1.0 + 1.0 - 1.0 / 3.0) / 4.0 * 0.999);
        assert_eq!(subsequence("ä", "abc"), 0.0);
        // Gaps that outweigh the runs.
        assert_eq!(subsequence("a", &("b".repeat(99) + "a" + &"b".repeat(99))), {
            let raw = 1.0 - 99.0 * (1.0 / 199.0) - 99.0 * (1.0 / 199.0) * 0.5;
            raw * 0.999
        });
    }

    #[test]
    fn known_similarities() {
        let about = |a, b, wanted: f64| assert!((jaro_winkler(a, b) - wanted).abs() < 1e-4, "{a} {b}");
        about("martha", "marhta", 0.9611);
        about("dixon", "dicksonx", 0.8133);
        about("dwayne", "duane", 0.84);
        about("abc", "xyz", 0.0);
        about("", "a", 0.0);
        about("same", "same", 1.0);
    }

    proptest! {
        #[test]
        fn scores_are_scores(a in "[a-cä]{0,8}", b in "[a-cä]{0,12}") {
            let (found, alike) = (subsequence(&a, &b), jaro_winkler(&a, &b));
            prop_assert!((0.0..=1.0).contains(&found) && (0.0..=1.0).contains(&alike));
            let mut rest = b.chars();
            let holds = a.chars().all(|wanted| rest.any(|found| found == wanted));
            prop_assert!(holds || found == 0.0);
            prop_assert_eq!(alike.to_bits(), jaro_winkler(&b, &a).to_bits());
        }
    }
}

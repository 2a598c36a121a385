//! Medians and ratios.

/// The middle value; of an even number the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values
        .into_iter()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[half]),
        _ => Some((values[half - 1] + values[half]) / 2.0),
    }
}

/// Median of the ratios of values of the same round; rounds that only one side has do not count.
pub(super) fn median_ratio(values: &[(usize, f64)], reference: &[(usize, f64)]) -> Option<f64> {
    median(values.iter().filter_map(|&(round, value)| {
        let (_, reference) = reference.iter().find(|reference| reference.0 == round)?;
        Some(value / reference)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_few_and_of_none() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([4.0, 1.0]), Some(2.5));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([1.0, f64::NAN, 3.0, 2.0]), Some(2.0));
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was ten times slower in round 1: the ratio does not care.
        let values = [(0, 2.0), (1, 22.0), (2, 3.0)];
        let reference = [(0, 1.0), (1, 10.0), (2, 1.0)];
        assert_eq!(median_ratio(&values, &reference), Some(2.2));
        assert_eq!(median_ratio(&values, &[(1, 11.0)]), Some(2.0));
        assert_eq!(median_ratio(&values, &[]), None);
        assert_eq!(median_ratio(&values, &[(0, 0.0)]), None);
    }
}

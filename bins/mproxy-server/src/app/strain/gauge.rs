//! A reading that must stay high before it counts, and low before it counts no more.

/// How hard it is for the process to keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    #[default]
    Normal,
    /// New connections come in slowly.
    Scarce,
    /// No new connections come in.
    Critical,
}

/// From where on a reading is high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Threshold {
    pub(super) scarce: f64,
    pub(super) critical: f64,
}

/// Readings in a row, one per second, that raise the level. One alone is a machine that was stopped, or a
/// large reload.
const RAISE: u8 = 3;

/// Readings in a row below half of the threshold that lower it again.
const LOWER: u8 = 5;

/// The level of a source of readings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gauge {
    level: Level,
    /// Readings in a row above the current level, and the lowest level that they reach.
    higher: u8,
    lowest: Level,
    /// Readings in a row that are low.
    low: u8,
}

impl Gauge {
    /// The level after a reading. Without a threshold, or a reading, it is normal at once.
    pub(super) fn hear(&mut self, reading: Option<f64>, threshold: Option<Threshold>) -> Level {
        let (Some(reading), Some(threshold)) = (reading, threshold) else {
            *self = Self::default();
            return self.level;
        };
        let level = match reading {
            it if it >= threshold.critical => Level::Critical,
            it if it >= threshold.scarce => Level::Scarce,
            _ => Level::Normal,
        };
        if level > self.level {
            self.lowest = match self.higher {
                0 => level,
                _ => self.lowest.min(level),
            };
            self.higher += 1;
            if self.higher >= RAISE {
                self.level = self.lowest;
                self.higher = 0;
            }
        } else {
            self.higher = 0;
        }
        self.low = match reading < threshold.scarce / 2.0 {
            true => self.low.saturating_add(1),
            false => 0,
        };
        if self.low >= LOWER {
            self.level = Level::Normal;
        }
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Level::{Critical, Normal, Scarce};

    const THRESHOLD: Threshold = Threshold {
        scarce: 10.0,
        critical: 40.0,
    };

    fn after(gauge: &mut Gauge, readings: &[f64]) -> Vec<Level> {
        let levels = readings.iter();
        levels
            .map(|it| gauge.hear(Some(*it), Some(THRESHOLD)))
            .collect()
    }

    #[test]
    fn it_rises_after_three_readings_and_falls_after_five_low_ones() {
        let mut gauge = Gauge::default();
        assert_eq!(after(&mut gauge, &[99.0, 99.0, 0.0]), [Normal; 3], "a stop");
        assert_eq!(
            after(&mut gauge, &[12.0, 50.0, 12.0]),
            [Normal, Normal, Scarce]
        );
        assert_eq!(after(&mut gauge, &[50.0; 3]), [Scarce, Scarce, Critical]);
        // between half of the threshold and the threshold, it stays
        assert_eq!(after(&mut gauge, &[7.0; 20]), [Critical; 20]);
        assert_eq!(after(&mut gauge, &[4.0, 4.0, 4.0, 4.0, 7.0]), [Critical; 5]);
        assert_eq!(after(&mut gauge, &[4.0; 4]), [Critical; 4]);
        assert_eq!(after(&mut gauge, &[4.0]), [Normal]);
    }

    #[test]
    fn without_a_threshold_or_a_reading_it_is_normal() {
        let mut gauge = Gauge::default();
        for (reading, threshold) in [(None, Some(THRESHOLD)), (Some(99.0), None)] {
            after(&mut gauge, &[99.0; 3]);
            assert_eq!(gauge.level, Critical);
            assert_eq!(gauge.hear(reading, threshold), Normal);
        }
    }
}

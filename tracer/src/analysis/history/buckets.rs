//! A row of cells along the time, of bounded length: when time goes beyond the last cell, two become one.

/// The most cells of a row.
pub(crate) const MAX_CELLS: usize = 240;

/// The width that a row begins with, nanoseconds.
const FIRST_WIDTH_NS: u64 = 1_000;

/// What a cell holds.
pub(crate) trait Cell: Default + Clone {
    /// Takes in the cell that comes right after it.
    fn join(&mut self, next: &Self);
}

/// Cells of equal width from an origin on.
#[derive(Debug, Clone)]
pub(crate) struct Buckets<T> {
    width_ns: u64,
    cells: Vec<T>,
}

impl<T> Default for Buckets<T> {
    fn default() -> Self {
        Self { width_ns: FIRST_WIDTH_NS, cells: Vec::new() }
    }
}

impl<T: Cell> Buckets<T> {
    /// The cell of this moment, nanoseconds since the origin.
    pub(crate) fn at(&mut self, at_ns: u64) -> &mut T {
        while at_ns / self.width_ns >= MAX_CELLS as u64 {
            self.halve();
        }
        let index = usize::try_from(at_ns / self.width_ns).unwrap_or(MAX_CELLS - 1);
        if self.cells.len() <= index {
            self.cells.resize(index + 1, T::default());
        }
        &mut self.cells[index]
    }

    /// All cells at this width or the next wider one, as many as `duration_ns` takes.
    pub(crate) fn finish(mut self, width_ns: u64, duration_ns: u64) -> Vec<T> {
        while self.width_ns < width_ns {
            self.halve();
        }
        let cells = usize::try_from(duration_ns / self.width_ns).unwrap_or(MAX_CELLS).saturating_add(1).min(MAX_CELLS);
        if self.cells.len() < cells {
            self.cells.resize(cells, T::default());
        }
        self.cells
    }

    fn halve(&mut self) {
        self.width_ns = self.width_ns.saturating_mul(2);
        self.cells = joined(&self.cells);
    }
}

/// Half as many cells, each of two.
pub(crate) fn joined<T: Cell>(cells: &[T]) -> Vec<T> {
    let join = |pair: &[T]| {
        let mut cell = pair[0].clone();
        if let Some(next) = pair.get(1) {
            cell.join(next);
        }
        cell
    };
    cells.chunks(2).map(join).collect()
}

/// The width at which `duration_ns` takes no more than [`MAX_CELLS`] cells.
pub(crate) fn width_for(duration_ns: u64) -> u64 {
    let mut width_ns = FIRST_WIDTH_NS;
    while duration_ns / width_ns >= MAX_CELLS as u64 {
        width_ns = width_ns.saturating_mul(2);
    }
    width_ns
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::{Buckets, Cell, MAX_CELLS, width_for};

    #[derive(Debug, Clone, Default)]
    struct Sum(u64);

    impl Cell for Sum {
        fn join(&mut self, next: &Self) {
            self.0 += next.0;
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_row_stays_short(times in prop::collection::vec(any::<u64>(), 0..200)) {
            let mut row = Buckets::<Sum>::default();
            for at in &times {
                row.at(*at).0 += 1;
            }
            let duration = times.iter().max().copied().unwrap_or(0);
            let cells = row.finish(width_for(duration), duration);
            assert!(cells.len() <= MAX_CELLS);
            assert_eq!(cells.iter().map(|cell| cell.0).sum::<u64>(), times.len() as u64);
        }

        #[test]
        fn a_moment_is_found_where_its_time_says(at in 0_u64..10_000_000_000, last in 0_u64..10_000_000_000) {
            let duration = at.max(last);
            let mut row = Buckets::<Sum>::default();
            row.at(at).0 += 1;
            row.at(last);
            let width = width_for(duration);
            let cells = row.finish(width, duration);
            assert_eq!(cells[usize::try_from(at / width).unwrap()].0, 1);
        }
    }
}

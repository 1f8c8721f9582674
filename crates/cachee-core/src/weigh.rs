//! What a value costs in memory, as the allocator sees it.

use std::sync::Arc;

/// A value that knows its own weight.
pub trait Weigh {
    /// Heap bytes owned beyond `size_of::<Self>()`, allocator rounding included.
    fn weight_bytes(&self) -> usize;
}

/// The two reference counts in front of an `Arc`'s content.
const ARC_HEADER_BYTES: usize = 2 * size_of::<usize>();

/// What one heap allocation of `len` bytes really takes.
///
/// The model is glibc's malloc, which also fits the others closely enough for the budget: 8 bytes
/// of header, rounded up to 16, never under 32; from 128 KiB on whole pages.
pub const fn heap_bytes(len: usize) -> usize {
    const MMAP_THRESHOLD_BYTES: usize = 128 * 1024;
    if len == 0 {
        0
    } else if len >= MMAP_THRESHOLD_BYTES {
        len.saturating_add(16 + 4095) & !4095
    } else if len <= 24 {
        32
    } else {
        (len + 8 + 15) & !15
    }
}

impl Weigh for Arc<[u8]> {
    fn weight_bytes(&self) -> usize {
        heap_bytes(ARC_HEADER_BYTES + self.len())
    }
}

impl Weigh for Box<[u8]> {
    fn weight_bytes(&self) -> usize {
        heap_bytes(self.len())
    }
}

impl Weigh for Vec<u8> {
    fn weight_bytes(&self) -> usize {
        heap_bytes(self.capacity())
    }
}

impl Weigh for u64 {
    fn weight_bytes(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_allocations_round_to_sixteen_with_a_header() {
        for (len, expected) in [(0, 0), (1, 32), (24, 32), (25, 48), (40, 48), (116, 128)] {
            assert_eq!(heap_bytes(len), expected, "len {len}");
        }
    }

    #[test]
    fn large_allocations_take_whole_pages() {
        assert_eq!(heap_bytes(1 << 20), (1 << 20) + 4096);
        assert!(heap_bytes(usize::MAX) >= usize::MAX - 4096);
    }
}

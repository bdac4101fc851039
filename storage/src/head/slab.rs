//! Small buffers of few sizes, cut from pages.
//!
//! A buffer is named by four bytes and costs nothing beside its bytes, where an allocation of its own would cost a pointer and
//! the allocator's header. Buffers of series that were first met together lie side by side. All of them go at once with the
//! partition that they belong to.

/// Sizes of buffers, bytes.
const SIZES: [usize; 12] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048];
/// Bytes of a page, about.
const PAGE_BYTES: usize = 64 << 10;

/// The largest buffer.
pub(super) const BUFFER_BYTES_MAX: usize = SIZES[SIZES.len() - 1];

/// Names a buffer: its size's place in [`SIZES`], and its number among those of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufferRef {
    number: u32,
}

const CLASS_BITS: u32 = 4;
const _: () = assert!(SIZES.len() < 1 << CLASS_BITS);

impl BufferRef {
    /// No buffer: has no room.
    pub(super) const NONE: BufferRef = BufferRef { number: u32::MAX };

    fn new(class: usize, number: u32) -> Self {
        BufferRef { number: number << CLASS_BITS | class as u32 }
    }

    fn class(self) -> usize {
        (self.number & ((1 << CLASS_BITS) - 1)) as usize
    }

    fn place(self) -> u32 {
        self.number >> CLASS_BITS
    }

    /// How many bytes it holds.
    #[inline]
    pub(super) fn capacity(self) -> usize {
        SIZES.get(self.class()).copied().unwrap_or(0)
    }
}

/// Buffers.
#[derive(Debug, Default)]
pub(super) struct Slabs {
    classes: [Class; SIZES.len()],
}

#[derive(Debug, Default)]
struct Class {
    pages: Vec<Box<[u8]>>,
    free: Vec<u32>,
    next: u32,
}

#[inline]
fn per_page(class: usize) -> u32 {
    (PAGE_BYTES / SIZES[class]) as u32
}

impl Slabs {
    /// A buffer of at least `bytes`; [`BufferRef::NONE`] when there is none of that size or no number is left.
    pub(super) fn take(&mut self, bytes: usize) -> BufferRef {
        let Some(class) = SIZES.iter().position(|size| *size >= bytes) else { return BufferRef::NONE };
        let slab = &mut self.classes[class];
        if let Some(number) = slab.free.pop() {
            return BufferRef::new(class, number);
        }
        let number = slab.next;
        if number >= (u32::MAX >> CLASS_BITS) {
            return BufferRef::NONE;
        }
        let per_page = per_page(class);
        if number.is_multiple_of(per_page) {
            slab.pages.push(vec![0; per_page as usize * SIZES[class]].into());
        }
        slab.next += 1;
        BufferRef::new(class, number)
    }

    /// Gives a buffer back.
    pub(super) fn give_back(&mut self, buffer: BufferRef) {
        if buffer != BufferRef::NONE {
            self.classes[buffer.class()].free.push(buffer.place());
        }
    }

    /// The bytes of a buffer; none of [`BufferRef::NONE`].
    #[inline]
    pub(super) fn bytes(&self, buffer: BufferRef) -> &[u8] {
        let Some(slab) = self.classes.get(buffer.class()) else { return &[] };
        let (page, start) = span(buffer);
        slab.pages.get(page).and_then(|page| page.get(start..start + SIZES[buffer.class()])).unwrap_or(&[])
    }

    /// The bytes of a buffer, to be written.
    #[inline]
    pub(super) fn bytes_mut(&mut self, buffer: BufferRef) -> &mut [u8] {
        let Some(slab) = self.classes.get_mut(buffer.class()) else { return &mut [] };
        let (page, start) = span(buffer);
        let page = slab.pages.get_mut(page);
        page.and_then(|page| page.get_mut(start..start + SIZES[buffer.class()])).unwrap_or(&mut [])
    }

    /// A larger buffer with the first `len` bytes of this one, which is given back; [`BufferRef::NONE`] if there is none, and this
    /// one then stays.
    pub(super) fn grow(&mut self, buffer: BufferRef, len: usize, bytes: usize) -> BufferRef {
        let larger = self.take(bytes.max(buffer.capacity() + 1));
        if buffer == BufferRef::NONE || larger == BufferRef::NONE {
            return larger;
        }
        let (old, new) = (span(buffer), span(larger));
        if let Ok([from, to]) = self.classes.get_disjoint_mut([buffer.class(), larger.class()])
            && let (Some(from), Some(to)) = (from.pages.get(old.0), to.pages.get_mut(new.0))
        {
            to[new.1..new.1 + len].copy_from_slice(&from[old.1..old.1 + len]);
        }
        self.give_back(buffer);
        larger
    }
}

/// The page of a buffer, and where in it the buffer begins.
#[inline]
fn span(buffer: BufferRef) -> (usize, usize) {
    let per_page = per_page(buffer.class());
    ((buffer.place() / per_page) as usize, (buffer.place() % per_page) as usize * SIZES[buffer.class()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_do_not_share_bytes_and_are_used_again() {
        let mut slabs = Slabs::default();
        let buffers: Vec<_> = (0..20_000).map(|i| slabs.take(1 + i % 300)).collect();
        for (i, buffer) in buffers.iter().enumerate() {
            assert!(buffer.capacity() > i % 300);
            slabs.bytes_mut(*buffer)[..4].copy_from_slice(&(i as u32).to_le_bytes());
        }
        for (i, buffer) in buffers.iter().enumerate() {
            assert_eq!(slabs.bytes(*buffer)[..4], (i as u32).to_le_bytes());
        }
        let grown = slabs.grow(buffers[7], 4, 200);
        assert_eq!((grown.capacity(), slabs.bytes(grown)[0]), (256, 7));
        assert_eq!(slabs.take(buffers[7].capacity()), buffers[7], "what was given back comes again");
        assert_eq!(slabs.take(BUFFER_BYTES_MAX + 1), BufferRef::NONE);
        assert_eq!((BufferRef::NONE.capacity(), slabs.bytes(BufferRef::NONE).len()), (0, 0));
    }
}

//! Small buffers of few sizes, cut from pages.
//!
//! A buffer is named by four bytes and costs nothing beside its bytes, where an allocation of its own would cost a pointer and
//! the allocator's header. Buffers of series that were first met together lie side by side. All of them go with the partition that they belong to,
//! if not before.

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

/// The buffers of one size. Series of one age outgrow a size together: pages without a buffer in use go back to the allocator, but for
/// one.
#[derive(Debug, Default)]
struct Class {
    pages: Vec<Page>,
    /// Numbers of pages that may have room, some of them more than once.
    roomy: Vec<u32>,
    /// Numbers of pages without bytes.
    vacant: Vec<u32>,
    /// Pages with bytes and without a buffer in use: one or none.
    idle: u32,
}

/// The buffers that were given back form a list: each begins with the place of the next.
#[derive(Debug, Default)]
struct Page {
    /// Empty: the page is vacant.
    bytes: Box<[u8]>,
    /// Buffers in use.
    used: u16,
    /// Buffers that were ever in use; those behind are free, too.
    begun: u16,
    /// The first buffer that was given back, plus 1; 0: none.
    free: u16,
}

#[inline]
fn per_page(class: usize) -> u32 {
    (PAGE_BYTES / SIZES[class]) as u32
}

impl Page {
    /// A buffer of this page, if one is free.
    fn take(&mut self, size: usize) -> Option<u32> {
        let place = match self.free.checked_sub(1) {
            Some(place) => {
                let at = usize::from(place) * size;
                let next = self.bytes.get(at..at + 2)?;
                self.free = u16::from_le_bytes([next[0], next[1]]);
                place
            }
            None if (usize::from(self.begun) + 1) * size <= self.bytes.len() => {
                self.begun += 1;
                self.begun - 1
            }
            None => return None,
        };
        self.used += 1;
        Some(u32::from(place))
    }

    fn give_back(&mut self, place: u32, size: usize) {
        let at = place as usize * size;
        if let Some(next) = self.bytes.get_mut(at..at + 2) {
            next.copy_from_slice(&self.free.to_le_bytes());
            self.free = place as u16 + 1;
            self.used -= 1;
        }
    }
}

impl Slabs {
    /// A buffer of at least `bytes`; [`BufferRef::NONE`] when there is none of that size or no number is left.
    pub(super) fn take(&mut self, bytes: usize) -> BufferRef {
        let Some(class) = SIZES.iter().position(|size| *size >= bytes) else { return BufferRef::NONE };
        let slab = &mut self.classes[class];
        while let Some(&number) = slab.roomy.last() {
            let page = &mut slab.pages[number as usize];
            if let Some(place) = page.take(SIZES[class]) {
                slab.idle -= u32::from(page.used == 1);
                return BufferRef::new(class, number * per_page(class) + place);
            }
            slab.roomy.pop();
        }
        let number = slab.vacant.pop().unwrap_or(slab.pages.len() as u32);
        if number >= (u32::MAX >> CLASS_BITS) / per_page(class) {
            return BufferRef::NONE;
        }
        if number as usize == slab.pages.len() {
            slab.pages.push(Page::default());
        }
        let page = &mut slab.pages[number as usize];
        *page = Page { bytes: vec![0; per_page(class) as usize * SIZES[class]].into(), ..Page::default() };
        slab.roomy.push(number);
        let place = page.take(SIZES[class]).unwrap_or(0);
        BufferRef::new(class, number * per_page(class) + place)
    }

    /// Gives a buffer back.
    pub(super) fn give_back(&mut self, buffer: BufferRef) {
        if buffer == BufferRef::NONE {
            return;
        }
        let class = buffer.class();
        let slab = &mut self.classes[class];
        let (number, place) = (buffer.place() / per_page(class), buffer.place() % per_page(class));
        let Some(page) = slab.pages.get_mut(number as usize) else { return };
        let was_full = u32::from(page.used) == per_page(class);
        page.give_back(place, SIZES[class]);
        if was_full {
            slab.roomy.push(number);
        }
        if page.used == 0 && slab.idle > 0 {
            *page = Page::default();
            slab.vacant.push(number);
        } else if page.used == 0 {
            slab.idle += 1;
        }
    }

    /// The bytes of a buffer; none of [`BufferRef::NONE`].
    #[inline]
    pub(super) fn bytes(&self, buffer: BufferRef) -> &[u8] {
        let Some(slab) = self.classes.get(buffer.class()) else { return &[] };
        let (page, start) = span(buffer);
        slab.pages.get(page).and_then(|page| page.bytes.get(start..start + SIZES[buffer.class()])).unwrap_or(&[])
    }

    /// The bytes of a buffer, to be written.
    #[inline]
    pub(super) fn bytes_mut(&mut self, buffer: BufferRef) -> &mut [u8] {
        let Some(slab) = self.classes.get_mut(buffer.class()) else { return &mut [] };
        let (page, start) = span(buffer);
        let page = slab.pages.get_mut(page);
        page.and_then(|page| page.bytes.get_mut(start..start + SIZES[buffer.class()])).unwrap_or(&mut [])
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
            to.bytes[new.1..new.1 + len].copy_from_slice(&from.bytes[old.1..old.1 + len]);
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
    use proptest::collection::vec;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn buffers_in_use_keep_their_bytes_whatever_comes_and_goes(steps in vec((0usize..3, 1usize..2000), 1..2000)) {
            let mut slabs = Slabs::default();
            let mut used: Vec<(BufferRef, u8)> = Vec::new();
            for (at, (kind, amount)) in steps.into_iter().enumerate() {
                let mark = at as u8;
                if kind == 0 && !used.is_empty() {
                    let (buffer, mark) = used.swap_remove(amount % used.len());
                    prop_assert!(slabs.bytes(buffer).iter().all(|byte| *byte == mark));
                    slabs.give_back(buffer);
                } else if kind == 1 && !used.is_empty() {
                    let place = amount % used.len();
                    let (old, mark) = used[place];
                    let grown = slabs.grow(old, old.capacity(), old.capacity() + 1);
                    if grown != BufferRef::NONE {
                        prop_assert!(slabs.bytes(grown)[..old.capacity()].iter().all(|byte| *byte == mark));
                        slabs.bytes_mut(grown).fill(mark);
                        used[place].0 = grown;
                    }
                } else {
                    let buffer = slabs.take(amount);
                    prop_assert!(buffer.capacity() >= amount);
                    slabs.bytes_mut(buffer).fill(mark);
                    used.push((buffer, mark));
                }
            }
            for (buffer, mark) in used {
                prop_assert!(slabs.bytes(buffer).iter().all(|byte| *byte == mark));
                slabs.give_back(buffer);
            }
            prop_assert!(slabs.classes.iter().all(|class| class.pages.iter().filter(|page| !page.bytes.is_empty()).count() <= 1));
        }
    }
}

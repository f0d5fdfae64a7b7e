//! When the records of a segment expire.

use larder_protocol::Seconds;

use super::segment::Weight;

/// How much of a segment expires when: a few moments, each of which stands for those before it that
/// were too many to tell apart. Most segments have one or two.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// Ascending.
    moments: [Weight; MOMENTS],
    /// How many are in use.
    len: u8,
}

impl Expiry {
    pub(super) fn add(&mut self, weight: Weight) {
        let len = usize::from(self.len);
        let used = self.moments.get_mut(..len).unwrap_or_default();
        let at = used.partition_point(|moment| moment.exptime < weight.exptime);
        if let Some(moment) = used.get_mut(at)
            && moment.exptime == weight.exptime
        {
            moment.add(weight);
            return;
        }
        if len == MOMENTS {
            self.join_closest();
            return self.add(weight);
        }
        self.len += 1;
        if let Some(tail) = self.moments.get_mut(at..=len) {
            tail.rotate_right(1);
            if let Some(first) = tail.first_mut() {
                *first = weight;
            }
        }
    }

    /// Makes one of the two that are closest: the later, since what is not yet expired must not
    /// count as if it were.
    fn join_closest(&mut self) {
        let gaps = self.moments.windows(2).enumerate().filter_map(|(at, pair)| match pair {
            [earlier, later] => Some((later.exptime - earlier.exptime, at)),
            _ => None,
        });
        let Some((_, at)) = gaps.min() else { return };
        let Some(joined) = self.moments.get(at).copied() else { return };
        self.moments.copy_within(at + 1.., at);
        self.len -= 1;
        if let Some(moment) = self.moments.get_mut(at) {
            moment.add(joined);
        }
    }

    /// What was added with this exptime is in the first moment that is no earlier.
    pub(super) fn take(&mut self, weight: Weight) {
        let used = self.moments.get_mut(..usize::from(self.len)).unwrap_or_default();
        if let Some(moment) = used.iter_mut().find(|moment| moment.exptime >= weight.exptime) {
            moment.len = moment.len.saturating_sub(weight.len);
            moment.paged = moment.paged.saturating_sub(weight.paged);
        }
    }

    /// Bytes of records, and of their pages.
    pub(super) fn before(&self, now: Seconds) -> (u32, u64) {
        let used = self.moments.get(..usize::from(self.len)).unwrap_or_default();
        let expired = used.iter().take_while(|moment| moment.exptime <= now);
        expired.fold((0, 0), |(len, paged), moment| (len + moment.len, paged + moment.paged))
    }
}

/// Enough to tell apart the TTLs of a site's few kinds of items.
const MOMENTS: usize = 8;

//! Where keys go.

use std::sync::Arc;

use larder_protocol::Seconds;

use crate::courier::Courier;
use crate::view::View;

/// Where keys go, of one view.
#[derive(Debug)]
pub(crate) struct Table {
    /// By the members' places in the view.
    destinations: Vec<Destination>,
    view: Arc<View>,
    /// For how many seconds what is stored at a stand-in lives.
    gutter: Seconds,
}

/// Where a member's keys go.
#[derive(Debug)]
pub(crate) enum Destination {
    Here,
    Away(Arc<Courier>),
}

/// Where a key goes. With a number of seconds, it is another that owns it and cannot be reached: what is
/// stored lives no longer.
#[derive(Debug)]
pub(crate) enum Route<'t> {
    Here(Option<Seconds>),
    Away(&'t Courier, Option<Seconds>),
    /// Nobody who may have it can be reached.
    Nowhere,
}

impl Table {
    pub(crate) fn new(view: Arc<View>, destinations: Vec<Destination>, gutter: Seconds) -> Self {
        Self { destinations, view, gutter }
    }

    /// Whether there is no other node.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        self.destinations.len() == 1
    }

    #[inline]
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    #[inline]
    pub(crate) fn route(&self, key: &[u8]) -> Route<'_> {
        if self.is_alone() {
            return Route::Here(None);
        }
        let mut lives = None;
        let mut owned = false;
        for place in self.view.candidates(key) {
            owned = true;
            match self.destinations.get(place) {
                Some(Destination::Here) => return Route::Here(lives),
                Some(Destination::Away(courier)) if !courier.is_out() => {
                    return Route::Away(courier, lives);
                }
                _ => lives = Some(self.gutter),
            }
        }
        // While all members are about to go, nobody owns anything.
        if owned { Route::Nowhere } else { Route::Here(None) }
    }

    /// Those who take commands to the other members.
    pub(crate) fn couriers(&self) -> impl Iterator<Item = &Arc<Courier>> {
        self.destinations.iter().filter_map(|destination| match destination {
            Destination::Here => None,
            Destination::Away(courier) => Some(courier),
        })
    }
}

//! The requests of one connection that have not been answered in full.

use std::collections::VecDeque;

/// Bytes of a request's path that are remembered as the name of the file that answers it.
pub(super) const PATH_BYTES_MAX: usize = 256;

/// Bytes of all paths that are remembered; those of further requests are not.
const PATHS_BYTES_MAX: usize = 128 * 1024;

/// Bytes of paths that a connection keeps room for when all its requests have been answered.
const ROOM_KEPT: usize = 1024;

/// A request that waits for its response.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) transaction: u32,
    pub(super) method: Method,
    pub(super) has_continued: bool,
    path_length: u16,
}

/// What a response must know of its request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Connect,
    Head,
    Other,
}

/// The requests, the oldest first. Their paths lie behind one another: small requests cost no allocation each.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    requests: VecDeque<Waiting>,
    paths: Vec<u8>,
    /// Bytes of paths whose requests are gone.
    gone: usize,
}

impl Pipeline {
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Notes a request, with the beginning of its path.
    pub(super) fn push(&mut self, transaction: u32, method: Method, path: &[u8]) {
        if self.gone > self.paths.len() / 2 {
            self.paths.drain(..std::mem::take(&mut self.gone));
        }
        let room = PATHS_BYTES_MAX.saturating_sub(self.paths.len() - self.gone);
        let path = &path[..path.len().min(PATH_BYTES_MAX).min(room)];
        self.paths.extend_from_slice(path);
        // At most PATH_BYTES_MAX.
        let path_length = path.len() as u16;
        self.requests.push_back(Waiting { transaction, method, has_continued: false, path_length });
    }

    /// The request whose response is next.
    pub(super) fn front(&self) -> Option<&Waiting> {
        self.requests.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Waiting> {
        self.requests.front_mut()
    }

    /// Its path; nothing without a request.
    pub(super) fn front_path(&self) -> &[u8] {
        let length = self.front().map_or(0, |first| usize::from(first.path_length));
        &self.paths[self.gone..self.gone + length]
    }

    /// The path of the last request.
    pub(super) fn back_path(&self) -> &[u8] {
        let length = self.requests.back().map_or(0, |last| usize::from(last.path_length));
        &self.paths[self.paths.len() - length..]
    }

    /// Forgets the first request: it has been answered.
    pub(super) fn pop_front(&mut self) {
        let Some(first) = self.requests.pop_front() else { return };
        self.gone += usize::from(first.path_length);
        if self.requests.is_empty() {
            self.gone = 0;
            self.paths.clear();
            self.paths.shrink_to(ROOM_KEPT);
            self.requests.shrink_to(ROOM_KEPT / size_of::<Waiting>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_keeps_its_path() {
        let mut pipeline = Pipeline::default();
        let path = |number: u32| format!("/{}", "x".repeat(number as usize % 300)).into_bytes();
        let kept = |number| path(number)[..path(number).len().min(PATH_BYTES_MAX)].to_vec();
        let (mut first, mut next) = (0, 0);
        for step in 0..2000 {
            if step % 7 < 4 {
                pipeline.push(next, Method::Other, &path(next));
                next += 1;
                assert_eq!(pipeline.back_path(), kept(next - 1));
            } else {
                pipeline.pop_front();
                first = next.min(first + 1);
            }
            assert_eq!(pipeline.len(), (next - first) as usize);
            if first < next {
                assert_eq!(pipeline.front().map(|waiting| waiting.transaction), Some(first));
                assert_eq!(pipeline.front_path(), kept(first));
            }
        }
        while pipeline.len() > 0 {
            pipeline.pop_front();
        }
        assert_eq!((pipeline.front_path(), pipeline.back_path()), (&[][..], &[][..]));
        assert!(pipeline.paths.capacity() <= ROOM_KEPT);
    }
}

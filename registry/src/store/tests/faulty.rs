//! An object store in memory, with whatever goes wrong in one.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::oneshot;

/// For what a test waits for in a moment.
const LIMIT: Duration = Duration::from_secs(60);

/// A store in memory that fails after so many answers, and cuts what it sends.
pub(super) struct Faulty {
    pub(super) store: InMemory,
    /// Requests that are answered before the next ones fail; all of them, where it is negative.
    left: AtomicI64,
    /// Of what it sends, so many bytes come; then the connection ends.
    pub(super) cut: Mutex<Option<usize>>,
    /// This byte of what it sends is another.
    pub(super) flipped: Mutex<Option<usize>>,
    pub(super) parts: AtomicI64,
    /// How often it was asked for what a file holds, and for a list.
    pub(super) gets: AtomicI64,
    pub(super) lists: AtomicI64,
    held: Mutex<Vec<Waits>>,
}

/// A request that waits.
struct Waits {
    request: String,
    reached: SyncSender<()>,
    go: oneshot::Receiver<()>,
}

/// A request that waits until a test lets it go on.
pub(super) struct Held {
    reached: Receiver<()>,
    go: oneshot::Sender<()>,
}

impl Held {
    /// Waits until it has come.
    pub(super) fn wait(&self) {
        self.reached.recv_timeout(LIMIT).unwrap();
    }

    pub(super) fn let_go(self) {
        self.go.send(()).unwrap();
    }
}

impl Faulty {
    pub(super) fn new() -> Arc<Self> {
        let counter = || AtomicI64::new(0);
        Arc::new(Self {
            store: InMemory::new(),
            left: AtomicI64::new(-1),
            cut: Mutex::default(),
            flipped: Mutex::default(),
            parts: counter(),
            gets: counter(),
            lists: counter(),
            held: Mutex::default(),
        })
    }

    /// Has the next such request wait: `put`, or of a file in parts `part 1` or `end`, and how the file's name ends.
    pub(super) fn hold(&self, request: &str) -> Held {
        let (come, reached) = sync_channel(1);
        let (go, going) = oneshot::channel();
        self.held.lock().unwrap().push(Waits { request: request.to_owned(), reached: come, go: going });
        Held { reached, go }
    }

    async fn wait(&self, request: &str, location: &Key) {
        let asked = format!("{request} {}", location.filename().unwrap_or_default());
        let held = {
            let mut held = self.held.lock().unwrap();
            held.iter().position(|held| held.request == asked).map(|place| held.remove(place))
        };
        if let Some(Waits { reached, go, .. }) = held {
            reached.send(()).unwrap();
            go.await.unwrap();
        }
    }

    pub(super) fn answers(&self, requests: i64) {
        self.left.store(requests, Ordering::SeqCst);
    }

    fn asked(&self) -> Result<()> {
        match self.left.load(Ordering::SeqCst) {
            0 => Err(away()),
            left => {
                if left > 0 {
                    self.left.fetch_sub(1, Ordering::SeqCst);
                }
                Ok(())
            }
        }
    }
}

fn away() -> Error {
    Error::Generic { store: "faulty", source: "connection refused".into() }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Key, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.asked()?;
        self.wait("put", location).await;
        self.store.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Key,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Key, options: GetOptions) -> Result<GetResult> {
        self.asked()?;
        self.gets.fetch_add(1, Ordering::SeqCst);
        let mut found = self.store.get_opts(location, options).await?;
        let (cut, flipped) = (self.cut.lock().unwrap().take(), *self.flipped.lock().unwrap());
        // What is flipped is a version's own file.
        let flipped = flipped.filter(|_| location.filename() != Some(".publishing"));
        if cut.is_some() || flipped.is_some() {
            let (meta, range, attributes) =
                (found.meta.clone(), found.range.clone(), found.attributes.clone());
            let mut bytes = found.bytes().await?.to_vec();
            if let Some(at) = flipped
                && let Some(byte) = bytes.get_mut(at)
            {
                *byte ^= 1;
            }
            bytes.truncate(cut.unwrap_or(usize::MAX));
            let mut pieces = vec![Ok(bytes.into())];
            pieces.extend(cut.map(|_| Err(away())));
            let payload = GetResultPayload::Stream(futures_util::stream::iter(pieces).boxed());
            found = GetResult { payload, meta, range, attributes, extensions: Default::default() };
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Key>>) -> BoxStream<'static, Result<Key>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        match self.asked() {
            Ok(()) => self.store.list(prefix),
            Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> Result<ListResult> {
        self.asked()?;
        self.lists.fetch_add(1, Ordering::SeqCst);
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for Faulty {
    async fn create_multipart(&self, path: &Key) -> Result<MultipartId> {
        self.asked()?;
        self.store.create_multipart(path).await
    }

    async fn put_part(
        &self,
        path: &Key,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        self.asked()?;
        self.wait(&format!("part {part_idx}"), path).await;
        self.parts.fetch_add(1, Ordering::SeqCst);
        self.store.put_part(path, id, part_idx, data).await
    }

    async fn complete_multipart(
        &self,
        path: &Key,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.asked()?;
        self.wait("end", path).await;
        self.store.complete_multipart(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Key, id: &MultipartId) -> Result<()> {
        self.store.abort_multipart(path, id).await
    }
}

//! Selects: the request, and the series of the answer.
//!
//! 1. [`Pieces`] cuts a batch into pieces of at most 1 MiB. A series whose chunks do not fit into what is left of a
//!    piece goes on in the next one. Timestamps that chunks share travel once per piece.
//! 2. [`Joiner`] checks the pieces as they arrive, puts such series together again, and yields batches in which each
//!    series comes once.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use marigram_proto::cluster as proto;
use marigram_storage::model::labels::{Labels, SeriesId};
use marigram_storage::model::matcher::{MatchOp, Matcher};
use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{EncodedChunk, SelectRequest, SelectedSeries};

use super::{Malformed, id, labels, labels_of, member};
use crate::rpc::PIECE_BYTES_MAX;

/// Tags, lengths and the id of a series.
const SERIES_OVERHEAD_BYTES: usize = 64;
/// First timestamp, span, length, and number of the times of a chunk, at most.
const CHUNK_OVERHEAD_BYTES: usize = 10 + 10 + 5 + 5;
/// Tag and length of shared timestamps.
const TIMES_OVERHEAD_BYTES: usize = 6;
/// Matchers of one request, and labels that it may drop.
const MATCHERS_MAX: usize = 1000;

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerHeader {
    /// Who answers.
    pub member: Member,
    /// Everything that it took with later timestamps is still on it.
    pub drop_mark_ms: Option<i64>,
    /// Its newest list of members, if newer than the asker's.
    pub members: Option<MemberList>,
    /// The cluster that it belongs to, if it was told one.
    pub cluster_id: Option<u128>,
}

/// As it travels.
pub fn encode_header(header: &AnswerHeader) -> proto::AnswerHeader {
    proto::AnswerHeader {
        identity: Some(member::encode(&header.member)),
        drop_mark_ms: header.drop_mark_ms,
        members: header.members.as_ref().map(member::encode_list),
        cluster_id: header.cluster_id.map(member::encode_id).unwrap_or_default(),
    }
}

/// One that came.
///
/// # Errors
/// No header, or one that no node makes.
pub fn decode_header(header: Option<&proto::AnswerHeader>) -> Result<AnswerHeader, Malformed> {
    let header = header.ok_or_else(|| Malformed::new("the answer does not begin with its header"))?;
    Ok(AnswerHeader {
        member: member::decode_present(header.identity.as_ref())?,
        drop_mark_ms: header.drop_mark_ms,
        members: header.members.as_ref().map(member::decode_list).transpose()?,
        cluster_id: match header.cluster_id.is_empty() {
            true => None,
            false => Some(id(&header.cluster_id, "a cluster id")?),
        },
    })
}

/// Who asks, and what the answer may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Whose data.
    pub tenant: TenantId,
    /// Time that is left.
    pub timeout_ms: u64,
    /// Bytes that may be held at once.
    pub memory_budget_bytes: u64,
    /// Number of the newest list of members that the asker has seen.
    pub catalog_number: u64,
}

/// As it travels.
pub fn encode_scope(scope: &Scope) -> proto::QueryScope {
    proto::QueryScope {
        tenant: scope.tenant.as_str().to_owned(),
        timeout_ms: scope.timeout_ms,
        memory_budget_bytes: scope.memory_budget_bytes,
        catalog_number: scope.catalog_number,
    }
}

/// One that came.
///
/// # Errors
/// None at all, or no tenant's name.
pub fn decode_scope(scope: Option<&proto::QueryScope>) -> Result<Scope, Malformed> {
    let scope = scope.ok_or_else(|| Malformed::new("the request does not say who asks"))?;
    Ok(Scope {
        tenant: TenantId::parse(&scope.tenant).map_err(|error| Malformed(error.to_string()))?,
        timeout_ms: scope.timeout_ms,
        memory_budget_bytes: scope.memory_budget_bytes,
        catalog_number: scope.catalog_number,
    })
}

/// A matcher as it travels.
pub fn encode_matcher(matcher: &Matcher) -> proto::Matcher {
    use proto::matcher::Kind;
    let kind = match matcher.op() {
        MatchOp::Equal => Kind::Equal,
        MatchOp::NotEqual => Kind::NotEqual,
        MatchOp::Regex => Kind::Regex,
        MatchOp::NotRegex => Kind::NotRegex,
    };
    proto::Matcher { name: matcher.name().to_owned(), kind: kind.into(), value: matcher.value().to_owned() }
}

/// Matchers that came, their regexes compiled.
///
/// # Errors
/// An unknown kind, a pattern that does not compile, too many.
pub fn decode_matchers(matchers: &[proto::Matcher]) -> Result<Vec<Matcher>, Malformed> {
    use proto::matcher::Kind;
    if matchers.len() > MATCHERS_MAX {
        return Err(Malformed(format!("there are more than {MATCHERS_MAX} matchers")));
    }
    let decode = |matcher: &proto::Matcher| {
        let op = match Kind::try_from(matcher.kind) {
            Ok(Kind::Equal) => MatchOp::Equal,
            Ok(Kind::NotEqual) => MatchOp::NotEqual,
            Ok(Kind::Regex) => MatchOp::Regex,
            Ok(Kind::NotRegex) => MatchOp::NotRegex,
            Err(_) => return Err(Malformed::new("a matcher is of an unknown kind")),
        };
        Matcher::new(&matcher.name, op, &matcher.value).map_err(|error| Malformed(error.to_string()))
    };
    matchers.iter().map(decode).collect()
}

/// A select that owns its parts.
#[derive(Debug)]
pub struct OwnedSelect {
    /// Who asks.
    pub scope: Scope,
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// The range.
    pub range: TimeRange,
    /// Labels to take away.
    pub drop_labels: Vec<String>,
}

impl OwnedSelect {
    /// As the store takes it.
    pub fn request(&self) -> SelectRequest<'_> {
        SelectRequest { matchers: &self.matchers, range: self.range, drop_labels: &self.drop_labels }
    }
}

/// A select as it travels.
pub fn encode_request(scope: &Scope, request: SelectRequest<'_>) -> proto::SelectRequest {
    proto::SelectRequest {
        scope: Some(encode_scope(scope)),
        matchers: request.matchers.iter().map(encode_matcher).collect(),
        start_ms: request.range.start_ms,
        end_ms: request.range.end_ms,
        drop_labels: request.drop_labels.to_vec(),
    }
}

/// One that came.
///
/// # Errors
/// See [`decode_scope`] and [`decode_matchers`].
pub fn decode_request(request: proto::SelectRequest) -> Result<OwnedSelect, Malformed> {
    if request.drop_labels.len() > MATCHERS_MAX {
        return Err(Malformed(format!("more than {MATCHERS_MAX} labels are to be dropped")));
    }
    Ok(OwnedSelect {
        scope: decode_scope(request.scope.as_ref())?,
        matchers: decode_matchers(&request.matchers)?,
        range: TimeRange { start_ms: request.start_ms, end_ms: request.end_ms },
        drop_labels: request.drop_labels,
    })
}

/// Cuts series into pieces of at most 1 MiB, one piece at a time.
pub struct Pieces {
    series: std::vec::IntoIter<SelectedSeries>,
    /// Of the series that is under way: itself, and how many of its chunks were sent.
    current: Option<(SelectedSeries, usize)>,
}

impl Pieces {
    /// The pieces of a batch.
    pub fn new(series: Vec<SelectedSeries>) -> Self {
        Pieces { series: series.into_iter(), current: None }
    }
}

impl Iterator for Pieces {
    /// A label set that does not fit into a piece is malformed.
    type Item = Result<proto::SelectPiece, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = Piece::new();
        loop {
            let Some((series, sent)) = self.current.take().or_else(|| Some((self.series.next()?, 0))) else { break };
            let wanted = series.chunks.get(sent..).unwrap_or_default();
            let count = piece.take(&series, wanted);
            if count == 0 && !wanted.is_empty() {
                if piece.series.is_empty() {
                    return Some(Err(Malformed::new(
                        "a series' labels or one of its chunks do not fit into a message",
                    )));
                }
                self.current = Some((series, sent));
                break;
            }
            if sent + count < series.chunks.len() {
                self.current = Some((series, sent + count));
                break;
            }
        }
        let Piece { series, times, .. } = piece;
        if series.is_empty() { None } else { Some(Ok(proto::SelectPiece { header: None, series, times })) }
    }
}

/// A piece in the making.
struct Piece {
    series: Vec<proto::SelectedSeries>,
    times: Vec<Bytes>,
    /// The places of `times`, from 1, by the columns' memory: chunks that share a column share that.
    places: HashMap<(usize, usize), u32>,
    left: usize,
}

impl Piece {
    fn new() -> Self {
        Piece { series: Vec::new(), times: Vec::new(), places: HashMap::new(), left: PIECE_BYTES_MAX }
    }

    /// Adds the series with the first of its `chunks`, as many as fit; answers how many. None: nothing was added, unless
    /// there are no chunks.
    fn take(&mut self, series: &SelectedSeries, chunks: &[EncodedChunk]) -> usize {
        let head = SERIES_OVERHEAD_BYTES + series.labels.as_bytes().len() + series.replica.as_bytes().len();
        let mut room = self.left.saturating_sub(head);
        let mut numbers = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let key = (chunk.times.as_ptr() as usize, chunk.times.len());
            let known = if chunk.times.is_empty() { Some(0) } else { self.places.get(&key).copied() };
            let column = if known.is_some() { 0 } else { TIMES_OVERHEAD_BYTES + chunk.times.len() };
            let needed = CHUNK_OVERHEAD_BYTES + chunk.bytes.len() + column;
            if needed > room {
                break;
            }
            room -= needed;
            numbers.push(known.unwrap_or_else(|| {
                self.times.push(chunk.times.clone());
                let number = self.times.len() as u32;
                self.places.insert(key, number);
                number
            }));
        }
        let count = numbers.len();
        if count > 0 || chunks.is_empty() {
            self.left = room;
            self.series.push(encode_series(series, chunks.get(..count).unwrap_or_default(), numbers));
        }
        count
    }
}

fn encode_series(series: &SelectedSeries, chunks: &[EncodedChunk], mut chunk_times: Vec<u32>) -> proto::SelectedSeries {
    let mut bytes = BytesMut::with_capacity(chunks.iter().map(|chunk| chunk.bytes.len()).sum());
    chunks.iter().for_each(|chunk| bytes.extend_from_slice(&chunk.bytes));
    if chunk_times.iter().all(|number| *number == 0) {
        chunk_times.clear();
    }
    proto::SelectedSeries {
        id: member::encode_id(series.id.0),
        labels: Bytes::copy_from_slice(series.labels.as_bytes()),
        replica: Bytes::copy_from_slice(series.replica.as_bytes()),
        chunk_min_ms: chunks.iter().map(|chunk| chunk.min_ms).collect(),
        chunk_span_ms: chunks.iter().map(|chunk| chunk.max_ms.wrapping_sub(chunk.min_ms) as u64).collect(),
        chunk_lengths: chunks.iter().map(|chunk| chunk.bytes.len() as u32).collect(),
        chunks: bytes.freeze(),
        chunk_times,
    }
}

/// Puts the series of pieces together again.
#[derive(Debug, Default)]
pub struct Joiner {
    /// The last series of the newest piece: the next piece may go on with it.
    held: Option<SelectedSeries>,
}

impl Joiner {
    /// The series that are complete after this piece, ascending by id and replica over all calls.
    ///
    /// # Errors
    /// A piece that no node makes.
    pub fn push(&mut self, piece: proto::SelectPiece) -> Result<Vec<SelectedSeries>, Malformed> {
        if piece.header.is_some() || piece.series.is_empty() {
            return Err(Malformed::new("a piece of an answer holds no series, or a second header"));
        }
        if piece.times.iter().any(Bytes::is_empty) {
            return Err(Malformed::new("shared timestamps of an answer are empty"));
        }
        let mut complete = Vec::with_capacity(piece.series.len());
        for (at, series) in piece.series.into_iter().enumerate() {
            let next = decode_series(series, &piece.times)?;
            let Some(held) = &mut self.held else {
                self.held = Some(next);
                continue;
            };
            match (held.id, &held.replica).cmp(&(next.id, &next.replica)) {
                std::cmp::Ordering::Less => complete.extend(self.held.replace(next)),
                std::cmp::Ordering::Equal if at == 0 => {
                    if !ascending(held.chunks.last().into_iter().chain(&next.chunks)) {
                        return Err(Malformed::new("the chunks of a series are not in order"));
                    }
                    held.chunks.extend(next.chunks);
                }
                _ => return Err(Malformed::new("the series of an answer are not in order")),
            }
        }
        Ok(complete)
    }

    /// Bytes that the held series takes.
    pub fn held_bytes(&self) -> u64 {
        self.held.as_ref().map_or(0, held_bytes)
    }

    /// The last series, at the end of the answer.
    pub fn finish(&mut self) -> Option<SelectedSeries> {
        self.held.take()
    }
}

fn ascending<'a>(chunks: impl IntoIterator<Item = &'a EncodedChunk>) -> bool {
    chunks.into_iter().map(|chunk| chunk.min_ms).is_sorted()
}

/// `times`: the columns of the piece.
fn decode_series(series: proto::SelectedSeries, times: &[Bytes]) -> Result<SelectedSeries, Malformed> {
    let id = SeriesId(id(&series.id, "a series id")?);
    let own_labels = labels_of(id, &series.labels)?;
    let replica = if series.replica.is_empty() { Labels::default() } else { labels(&series.replica)? };
    let count = series.chunk_lengths.len();
    if count == 0 || series.chunk_min_ms.len() != count || series.chunk_span_ms.len() != count {
        return Err(Malformed::new("a series has no chunks, or columns of chunks that differ in length"));
    }
    if !series.chunk_times.is_empty() && series.chunk_times.len() != count {
        return Err(Malformed::new("a series has not as many numbers of timestamps as chunks"));
    }
    let times_of = |at: usize| match series.chunk_times.get(at).copied().unwrap_or(0) as usize {
        0 => Some(Bytes::new()),
        number => times.get(number - 1).cloned(),
    };
    let mut chunks = Vec::with_capacity(count);
    let mut at = 0usize;
    let columns = series.chunk_min_ms.iter().zip(&series.chunk_span_ms).zip(&series.chunk_lengths);
    for ((&min_ms, &span_ms), &length) in columns {
        let end = at.checked_add(length as usize).filter(|end| *end <= series.chunks.len());
        let (Some(end), Some(max_ms)) = (end, min_ms.checked_add_unsigned(span_ms)) else {
            return Err(Malformed::new("a chunk reaches beyond the message or the end of time"));
        };
        let Some(times) = times_of(chunks.len()) else {
            return Err(Malformed::new("a chunk names timestamps that the piece does not hold"));
        };
        chunks.push(EncodedChunk { min_ms, max_ms, times, bytes: series.chunks.slice(at..end) });
        at = end;
    }
    if at != series.chunks.len() || !ascending(&chunks) {
        return Err(Malformed::new("the chunks of a series do not add up, or are not in order"));
    }
    Ok(SelectedSeries { id, labels: own_labels, replica, chunks })
}

/// Bytes that a series holds out of a query's budget. Timestamps that it shares with others count for each series, once for
/// chunks that follow each other: a piece's columns live as long as any of its series.
pub(crate) fn held_bytes(series: &SelectedSeries) -> u64 {
    let mut before = std::ptr::null();
    let mut times = |chunk: &EncodedChunk| {
        let new = std::mem::replace(&mut before, chunk.times.as_ptr()) != chunk.times.as_ptr();
        if new { chunk.times.len() } else { 0 }
    };
    let chunks: usize =
        series.chunks.iter().map(|chunk| size_of::<EncodedChunk>() + chunk.bytes.len() + times(chunk)).sum();
    (size_of::<SelectedSeries>() + series.labels.as_bytes().len() + series.replica.as_bytes().len() + chunks) as u64
}

#[cfg(test)]
#[path = "select_test.rs"]
mod tests;

//! Decoding of response bodies: `Content-Encoding` (RFC 9110 §8.4) and byte order marks. Berth requests `identity`, but
//! some servers and proxies compress without being asked.

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use std::fmt;
use std::io::Read;

/// Maximum size of a decoded response body that is kept and recorded, in bytes (docs/contract.md §2).
pub(crate) const MAX_RESPONSE: usize = 64 * 1024;
/// Maximum size of an encoded body that is read. Encoded bodies can be longer than their content.
pub(crate) const MAX_ENCODED: usize = 2 * MAX_RESPONSE;

/// Size of the buffer for compressed input.
const BUFFER: usize = 4_096;

/// A decoded body.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    /// At most [`MAX_RESPONSE`] bytes, without a byte order mark. As received if it cannot be decoded.
    pub(crate) body: Bytes,
    /// Whether the body is longer.
    pub(crate) truncated: bool,
    /// A sentence, if the body cannot be decoded.
    pub(crate) error: Option<String>,
}

/// A content coding.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Unknown(String),
}

impl Coding {
    /// Parses a coding; `None` for the absence of one.
    fn parse(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        Some(match name.as_str() {
            "" | "identity" => return None,
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "br" => Self::Brotli,
            _ => Self::Unknown(name.chars().take(50).collect()),
        })
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Unknown(name) => name,
        })
    }
}

/// Whether the body has a content coding.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::CONTENT_ENCODING)
}

/// Decodes a body. `truncated` is true if only its first [`MAX_ENCODED`] bytes were read.
pub(crate) fn decode(headers: &HeaderMap, body: Bytes, truncated: bool) -> Decoded {
    let mut decoded = Decoded { body, truncated, error: None };
    // The codings are listed in the order in which they were applied.
    for coding in codings(headers).iter().rev() {
        if decoded.body.is_empty() {
            break;
        }
        match decompress(coding, &decoded.body, decoded.truncated) {
            Ok((body, truncated)) => {
                decoded.body = body.into();
                decoded.truncated = truncated;
            }
            Err(error) => {
                decoded.error = error;
                break;
            }
        }
    }
    decoded.body = without_byte_order_mark(decoded.body);
    if decoded.body.len() > MAX_RESPONSE {
        decoded.body.truncate(MAX_RESPONSE);
        decoded.truncated = true;
    }
    decoded
}

fn codings(headers: &HeaderMap) -> Vec<Coding> {
    let values = headers.get_all(http::header::CONTENT_ENCODING).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(Coding::parse)
        .collect()
}

/// Decompresses up to [`MAX_ENCODED`] bytes of output. Returns whether the output is longer.
///
/// # Errors
/// When the input is invalid: a sentence, or `None` for text whose coding is unknown, which probably has none.
fn decompress(coding: &Coding, input: &[u8], input_truncated: bool) -> Result<(Vec<u8>, bool), Option<String>> {
    let mut output = Vec::new();
    let valid = match coding {
        Coding::Gzip => read(MultiGzDecoder::new(input), &mut output),
        // RFC 9110 §8.4.1.2: zlib. Some servers send the bare DEFLATE stream.
        Coding::Deflate => {
            read(ZlibDecoder::new(input), &mut output) || {
                let mut bare = Vec::new();
                let valid = read(DeflateDecoder::new(input), &mut bare);
                if valid || output.is_empty() {
                    output = bare;
                }
                valid
            }
        }
        Coding::Brotli => read(brotli_decompressor::Decompressor::new(input, BUFFER), &mut output),
        Coding::Unknown(_) if std::str::from_utf8(input).is_ok() => return Err(None),
        Coding::Unknown(name) => {
            return Err(Some(format!("The response has the content encoding “{name}”, which Berth cannot decode.")));
        }
    };
    if !valid && !input_truncated {
        return Err(Some(format!(
            "The Content-Encoding of the response is {coding}, but its body is not valid {coding}."
        )));
    }
    let is_longer = output.len() > MAX_ENCODED;
    output.truncate(MAX_ENCODED);
    Ok((output, is_longer || input_truncated))
}

/// Reads at most one byte more than [`MAX_ENCODED`]. Returns whether the input was valid so far.
fn read(decoder: impl Read, output: &mut Vec<u8>) -> bool {
    decoder.take(MAX_ENCODED as u64 + 1).read_to_end(output).is_ok()
}

/// Removes a byte order mark. Text in UTF-16, which such a mark identifies, becomes UTF-8.
fn without_byte_order_mark(body: Bytes) -> Bytes {
    let (units, decode): (_, fn([u8; 2]) -> u16) = match &body[..] {
        [0xef, 0xbb, 0xbf, ..] => return body.slice(3..),
        [0xff, 0xfe, units @ ..] => (units, u16::from_le_bytes),
        [0xfe, 0xff, units @ ..] => (units, u16::from_be_bytes),
        _ => return body,
    };
    let units: Vec<u16> = units.chunks_exact(2).map(|unit| decode([unit[0], unit[1]])).collect();
    String::from_utf16_lossy(&units).into()
}

/// Whether the content type is JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(domain::provisioning::is_json_content_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;
    use proptest::prelude::*;
    use std::io::Write as _;

    const TEXT: &[u8] = br#"{"status":"failed"}"#;
    /// [`TEXT`], compressed.
    const BROTLI: &[u8] = b"\x1b\x12\x00\xf8\xa5\x45\x74\xf6\xfa\xa6\x24\x94\x70\x52\x15\xe4\xd2\x58\x1e\x07";

    fn headers(encodings: &[&str]) -> HeaderMap {
        let encoding = |value: &&str| (http::header::CONTENT_ENCODING, HeaderValue::from_str(value).unwrap());
        encodings.iter().map(encoding).collect()
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect()
    }

    #[test]
    fn every_encoding_of_a_body_yields_the_same_text() {
        let marked = [b"\xef\xbb\xbf", TEXT].concat();
        let text = std::str::from_utf8(TEXT).unwrap();
        for (encodings, body) in [
            (&[][..], TEXT.to_vec()),
            (&["identity"], TEXT.to_vec()),
            (&["gzip"], gzip(TEXT)),
            (&["GZip "], gzip(TEXT)),
            (&["x-gzip"], gzip(TEXT)),
            (&["gzip"], [gzip(&TEXT[..9]), gzip(&TEXT[9..])].concat()),
            (&["deflate"], zlib(TEXT)),
            (&["deflate"], deflate(TEXT)),
            (&["br"], BROTLI.to_vec()),
            (&["deflate, gzip"], gzip(&zlib(TEXT))),
            (&["deflate", "identity", "gzip"], gzip(&zlib(TEXT))),
            (&[], marked.clone()),
            (&["gzip"], gzip(&marked)),
            (&[], utf16(text, u16::to_le_bytes)),
            (&[], utf16(text, u16::to_be_bytes)),
            // The body has none of the codings that its header claims.
            (&["utf-8"], TEXT.to_vec()),
        ] {
            let decoded = decode(&headers(encodings), body.into(), false);
            assert_eq!(decoded, Decoded { body: TEXT.into(), truncated: false, error: None }, "{encodings:?}");
        }
        let empty = decode(&headers(&["gzip"]), Bytes::new(), false);
        assert_eq!(empty, Decoded { body: Bytes::new(), truncated: false, error: None });
    }

    #[test]
    fn cap_applies_to_decoded_bytes() {
        let body = vec![b'x'; MAX_RESPONSE];
        let exact = decode(&headers(&["gzip"]), gzip(&body).into(), false);
        assert_eq!((exact.body.len(), exact.truncated), (MAX_RESPONSE, false));
        let longer = decode(&headers(&["gzip"]), gzip(&[&body[..], b"x"].concat()).into(), false);
        assert_eq!((longer.body.len(), longer.truncated), (MAX_RESPONSE, true));
        let bomb = decode(&headers(&["gzip, gzip"]), gzip(&gzip(&vec![0; 50 * 1_024 * 1_024])).into(), false);
        assert_eq!((bomb.body.len(), bomb.truncated, bomb.error), (MAX_RESPONSE, true, None));
    }

    #[test]
    fn undecodable_body_is_named() {
        for (encoding, body) in [
            ("gzip", b"\x1f\x8b\x08garbage".to_vec()),
            ("gzip", gzip(TEXT)[..20].to_vec()),
            ("br", b"\xff\xff\xff".to_vec()),
        ] {
            let decoded = decode(&headers(&[encoding]), body.clone().into(), false);
            assert!(decoded.error.unwrap().contains(encoding));
            assert_eq!(decoded.body, body);
        }
        let decoded = decode(&headers(&["zstd"]), b"\x28\xb5\x2f\xfd\x04"[..].into(), false);
        assert!(decoded.error.unwrap().contains("zstd"));
    }

    #[test]
    fn json_content_types_are_recognised() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/html", false),
            ("text/plain; format=json", false),
        ] {
            let headers = [(http::header::CONTENT_TYPE, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(is_json(&headers), expected, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_exceed_the_cap(
            encoding in "(gzip|deflate|br|zstd|x), ?(gzip|br|identity)?",
            body in proptest::collection::vec(any::<u8>(), 0..200),
            truncated: bool,
        ) {
            let decoded = decode(&headers(&[&encoding]), body.into(), truncated);
            prop_assert!(decoded.body.len() <= MAX_RESPONSE);
        }
    }
}

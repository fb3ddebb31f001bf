//! Encoding of the arguments of server functions, which are read as strictly as the bodies of the API.

use domain::Problem;
use leptos::server_fn::{Bytes, ContentType, Decodes, Encodes, Format, FormatType};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// JSON whose structures are objects with known fields. The default encoding also reads them from lists, by position.
pub struct StrictJson;

impl ContentType for StrictJson {
    const CONTENT_TYPE: &'static str = "application/json";
}

impl FormatType for StrictJson {
    const FORMAT_TYPE: Format = Format::Text;
}

impl<T: Serialize> Encodes<T> for StrictJson {
    type Error = serde_json::Error;

    fn encode(value: &T) -> Result<Bytes, Self::Error> {
        domain::json::to_text(value).map(Bytes::from)
    }
}

impl<T: DeserializeOwned> Decodes<T> for StrictJson {
    type Error = Problem;

    fn decode(bytes: Bytes) -> Result<T, Problem> {
        domain::input::from_json(&bytes)
    }
}

//! The WebAuthn settings that follow from the public URL.

use domain::Problem;
use std::sync::Arc;
use url::{Host, Url};
use webauthn_rs::prelude::{Webauthn, WebauthnBuilder};

/// Berth as a relying party of passkeys. Cheap to clone.
#[derive(Clone)]
pub(in crate::accounts) struct RelyingParty(Option<Arc<Webauthn>>);

impl RelyingParty {
    /// The relying party of a public URL. Passkeys belong to its host name and are accepted only from its origin.
    ///
    /// Browsers accept no address as a relying party. A loopback address is replaced by `localhost`; with another
    /// address there are no passkeys.
    pub(in crate::accounts) fn of(public_url: &str) -> Self {
        Self(Self::build(public_url).map(Arc::new))
    }

    fn build(public_url: &str) -> Option<Webauthn> {
        let mut origin = Url::parse(public_url).ok()?;
        let is_loopback = match origin.host()? {
            Host::Domain(_) => false,
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        if is_loopback {
            origin.set_host(Some("localhost")).ok()?;
        }
        let id = origin.domain()?.to_owned();
        WebauthnBuilder::new(&id, &origin).ok()?.rp_name("Berth").build().ok()
    }

    /// The settings.
    ///
    /// # Errors
    /// 409 if the public URL has no host name.
    pub(super) fn get(&self) -> Result<&Webauthn, Problem> {
        self.0.as_deref().ok_or_else(|| {
            Problem::conflict(
                "Passkeys need a host name, and the public URL has an IP address. Use an authenticator app, or ask the \
                 operator to set BERTH_PUBLIC_URL to an address with a host name.",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_belong_to_the_host_of_the_public_url() {
        for (public_url, origin) in [
            ("https://berth.example.com", "https://berth.example.com/"),
            ("http://localhost:3000", "http://localhost:3000/"),
            ("http://127.0.0.1:3000", "http://localhost:3000/"),
            ("http://[::1]:3000", "http://localhost:3000/"),
        ] {
            let party = RelyingParty::of(public_url);
            let origins = party.get().unwrap().get_allowed_origins();
            assert_eq!(origins.iter().map(Url::as_str).collect::<Vec<_>>(), [origin]);
        }
        for address in ["http://192.0.2.1:3000", "http://0.0.0.0:3000", "http://[2001:db8::1]"] {
            assert!(RelyingParty::of(address).get().is_err(), "{address}");
        }
    }
}

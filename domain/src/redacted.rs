//! `Debug` without secrets, so that a log line or a failed assertion cannot show one.

/// Implements `Debug` for a struct with secrets. Every field is in one of the lists; a hidden one is shown as `…`.
#[macro_export]
macro_rules! redacted_debug {
    ($name:ident { $($shown:ident),* $(,)? } hides { $($hidden:ident),+ $(,)? }) => {
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                // A field that is in neither list does not compile.
                let Self { $($shown,)* $($hidden: _,)+ } = self;
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($shown), $shown))*
                    $(.field(stringify!($hidden), &"…"))+
                    .finish()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::account::{ApiTokenInput, Credentials, NewApiToken, SetupInput, UserInput, UserPatch};
    use crate::privacy::ErasureInput;
    use crate::second_factor::{ConfirmationInput, SecondFactorInput};
    use crate::webhook::{RotateInput, WebhookInput, WebhookPatch};
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};
    use std::fmt::Debug;

    const SECRET: &str = "hunter2-hunter2";

    fn check<T: DeserializeOwned + Debug>(value: Value) {
        let shown = format!("{:?}", serde_json::from_value::<T>(value).unwrap());
        assert!(!shown.contains("hunter2") && shown.contains('…'), "{shown}");
    }

    #[test]
    fn debug_output_has_no_secret() {
        check::<Credentials>(json!({"username": "a", "password": SECRET}));
        check::<UserInput>(json!({"username": "a", "email": "a@b.c", "password": SECRET, "role": "user"}));
        check::<UserPatch>(json!({"password": SECRET, "current_password": SECRET}));
        check::<ApiTokenInput>(json!({"name": "ci", "current_password": SECRET}));
        check::<NewApiToken>(json!({"id": "tok_1", "name": "ci", "token": SECRET}));
        check::<SetupInput>(json!({"code": SECRET, "username": "a", "email": "a@b.c", "password": SECRET}));
        check::<ErasureInput>(json!({"current_password": SECRET}));
        check::<SecondFactorInput>(json!({"code": SECRET, "recovery_code": SECRET}));
        check::<ConfirmationInput>(json!({"password": SECRET, "code": SECRET}));
        check::<RotateInput>(json!({"secret": SECRET}));
        check::<WebhookPatch>(json!({"headers": [{"name": "X-Api-Key", "value": SECRET}]}));
        let auths = [
            json!({"method": "api_key", "header": "X-Api-Key", "key": SECRET}),
            json!({"method": "oauth2", "token_url": "https://a.example", "client_id": "b", "client_secret": SECRET}),
        ];
        for auth in auths {
            let headers = json!([{"name": "Authorization", "value": SECRET}]);
            check::<WebhookInput>(json!({
                "name": "a", "endpoint_url": "https://a.example", "events": [], "auth": auth, "secret": SECRET,
                "headers": headers,
            }));
        }
    }
}

//! The buttons of the identity providers over a page that keeps its input.

use crate::components::*;
use crate::prerendered_login::{self, Provider};
use leptos::prelude::*;

/// One button for each identity provider, which opens in a new window. With `confirms`, the provider asks for a credential.
pub fn provider_buttons(confirms: bool) -> Vec<AnyView> {
    let button = |provider: Provider| {
        let label = provider.label.clone();
        let open = Callback::new(move |()| prerendered_login::open_window(&provider, confirms));
        view! { <Button on_click=open>{label}</Button> }.into_any()
    };
    prerendered_login::providers().into_iter().map(button).collect()
}

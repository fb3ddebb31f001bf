//! Icons: 16 px outlines in the colour of the text. Assistive technology ignores them; the text beside them names the action.

use leptos::prelude::*;

/// An icon.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    Bell,
    Calendar,
    Check,
    Chevron,
    Clock,
    Close,
    Copy,
    Cross,
    Home,
    Info,
    Key,
    List,
    Lock,
    Menu,
    Moon,
    People,
    Person,
    Plus,
    Retry,
    Search,
    Send,
    Server,
    Settings,
    Stack,
    Sun,
    Trash,
    Warning,
    Webhook,
}

impl Icon {
    /// The outline in SVG's path syntax.
    fn path(self) -> &'static str {
        match self {
            Self::Bell => "M4 7a4 4 0 0 1 8 0c0 4 1.5 5 1.5 5h-11S4 11 4 7M6.5 14.5h3",
            Self::Calendar => "M2.5 3.5h11v10h-11zM2.5 6.5h11M5.5 1.5v3M10.5 1.5v3",
            Self::Check => "M3 8.5l3.5 3.5L13 4.5",
            Self::Chevron => "M6 3.5L10.5 8 6 12.5",
            Self::Clock => "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M8 4.5V8l2.5 1.5",
            Self::Close | Self::Cross => "M3.5 3.5l9 9M12.5 3.5l-9 9",
            Self::Copy => "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
            Self::Home => "M2 8l6-5.5L14 8M3.5 7v6.5h9V7",
            Self::Info => "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M8 7.5v4M8 4.8v.2",
            Self::Key => "M10 1.5a4 4 0 1 0 0 8 4 4 0 0 0 0-8M7.2 8.4L1.5 14v.5H4v-2h2v-2",
            Self::List => "M5.5 4h8M5.5 8h8M5.5 12h8M2.5 4h.1M2.5 8h.1M2.5 12h.1",
            Self::Lock => "M3.5 7.5h9v6.5h-9zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5",
            Self::Menu => "M2 4.5h12M2 8h12M2 11.5h12",
            Self::Moon => "M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7",
            Self::People => {
                "M5.5 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5M1 13.5c0-2.8 2-4 4.5-4s4.5 1.2 4.5 4M10.5 2.6a2.5 2.5 0 0 1 0 4.8M12 9.8c1.9.5 3 1.7 3 3.7"
            }
            Self::Person => "M8 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6M2.5 14.5c0-3 2.5-4.5 5.5-4.5s5.5 1.5 5.5 4.5",
            Self::Plus => "M8 3v10M3 8h10",
            Self::Retry => "M13.5 8A5.5 5.5 0 1 1 11.6 3.8M13.5 1.5v3.5H10",
            Self::Search => "M7 2a5 5 0 1 0 0 10 5 5 0 0 0 0-10M10.6 10.6l3.4 3.4",
            Self::Send => "M14 2L2 7l5 2 2 5zM14 2L7 9",
            Self::Server => "M2.5 2.5h11v4.5h-11zM2.5 9h11v4.5h-11zM5 4.8h.1M5 11.3h.1",
            Self::Settings => "M2 4.5h7M13 4.5h1M2 11.5h1M7 11.5h7M11 2.5v4M5 9.5v4",
            Self::Stack => "M8 2l6.5 3L8 8 1.5 5zM1.5 8L8 11l6.5-3M1.5 11L8 14l6.5-3",
            Self::Sun => {
                "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1"
            }
            Self::Trash => "M2.5 4h11M6 4V2.5h4V4M4 4l.7 9.5h6.6L12 4",
            Self::Warning => "M8 2L15 14H1zM8 6.5V10M8 12v.1",
            Self::Webhook => {
                "M8 5.5a2 2 0 1 0-1.2-3.6M7 5.2l-2.6 5M4.4 10.2a2 2 0 1 0 1.9 2.3H11M9 5.2l2.6 4.6M11.6 9.8a2 2 0 1 1-1.2 3.6"
            }
        }
    }
}

/// An icon as SVG.
#[component]
pub fn IconView(icon: Icon) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
            <path d=icon.path()></path>
        </svg>
    }
}

//! Local times: their conversion to instants, and the quarter hours of days, also where the clocks change.

use chrono::{DateTime, Duration, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _, Utc};

/// A time zone: its offset from UTC at a time, in seconds east.
pub type Zone<'a> = &'a dyn Fn(DateTime<Utc>) -> i32;

/// The minutes of a slot.
pub const SLOT_MINUTES: u32 = 15;
const SLOT: Duration = Duration::minutes(SLOT_MINUTES as i64);
const MINUTES_PER_DAY: u32 = 24 * 60;

/// The instants of a local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalTime {
    /// The clocks are set forward over it. The instant is as much after the change as the local time is after its start.
    Skipped(DateTime<Utc>),
    /// It occurs once.
    Once(DateTime<Utc>),
    /// The clocks are set back, so it occurs twice; the earlier instant first.
    Twice(DateTime<Utc>, DateTime<Utc>),
}

impl LocalTime {
    /// The instants of a local time in a zone whose clocks change at most once in three days.
    pub fn new(zone: Zone, local: NaiveDateTime) -> Self {
        // Offsets are smaller than a day, so the change lies between these two references if it affects the local time.
        let as_utc = local.and_utc();
        let with_offset_at = |reference: DateTime<Utc>| as_utc - offset(zone, reference);
        let before = with_offset_at(as_utc - Duration::days(1));
        let after = with_offset_at(as_utc + Duration::days(1));
        let exists = |time: DateTime<Utc>| time + offset(zone, time) == as_utc;
        match (exists(before), exists(after)) {
            (true, true) if before != after => Self::Twice(before, after),
            (true, _) => Self::Once(before),
            (false, true) => Self::Once(after),
            (false, false) => Self::Skipped(before),
        }
    }

    /// The first instant. For a skipped time, an instant after the change.
    pub fn first(self) -> DateTime<Utc> {
        match self {
            Self::Skipped(time) | Self::Once(time) | Self::Twice(time, _) => time,
        }
    }
}

fn offset(zone: Zone, time: DateTime<Utc>) -> Duration {
    Duration::seconds(i64::from(zone(time)))
}

/// The local time of an instant.
pub fn to_local(zone: Zone, time: DateTime<Utc>) -> NaiveDateTime {
    (time + offset(zone, time)).naive_utc()
}

/// The first instant of a day.
pub fn day_start(zone: Zone, day: NaiveDate) -> DateTime<Utc> {
    LocalTime::new(zone, day.and_time(NaiveTime::MIN)).first()
}

/// A row of a [`TimeGrid`]: a quarter hour of the local clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    /// The local time in minutes after midnight.
    minute: u32,
    /// The offset of the zone. It distinguishes the two rows of a quarter hour that occurs twice.
    offset: Duration,
}

/// Several days as columns of quarter hours, with common rows.
///
/// On the day on which the clocks are set back, some quarter hours occur twice and have two rows. On other days one of the two
/// is missing, and likewise the rows that the clocks skip when they are set forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeGrid {
    rows: Vec<Row>,
    /// The days.
    pub days: Vec<GridDay>,
}

/// A day of a [`TimeGrid`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridDay {
    /// The date.
    pub date: NaiveDate,
    /// The first instant.
    pub start: DateTime<Utc>,
    /// The first instant of the next day.
    pub end: DateTime<Utc>,
    /// The start of each quarter hour, oldest first, with the number of its row.
    slots: Vec<(DateTime<Utc>, u32)>,
}

impl TimeGrid {
    /// The grid of `count` days from `first`.
    pub fn new(zone: Zone, first: NaiveDate, count: usize) -> Self {
        let row_of = |time: DateTime<Utc>| {
            let local = to_local(zone, time).time();
            Row { minute: local.hour() * 60 + local.minute(), offset: offset(zone, time) }
        };
        let columns: Vec<Vec<(DateTime<Utc>, Row)>> = first
            .iter_days()
            .take(count)
            .map(|day| {
                let (start, end) = (day_start(zone, day), day.succ_opt().map(|next| day_start(zone, next)));
                let slots = std::iter::successors(Some(start), |time| Some(*time + SLOT));
                let slots = slots.take_while(|time| Some(*time) < end);
                slots.map(|time| (time, row_of(time))).collect()
            })
            .collect();
        let repeats =
            |slots: &&Vec<(DateTime<Utc>, Row)>| slots.windows(2).any(|two| two[1].1.minute <= two[0].1.minute);
        let rows: Vec<Row> = match columns.iter().find(repeats) {
            Some(longest) => longest.iter().map(|(_, row)| *row).collect(),
            None => (0..MINUTES_PER_DAY)
                .step_by(SLOT_MINUTES as usize)
                .map(|minute| Row { minute, offset: Duration::zero() })
                .collect(),
        };
        let number = |row: Row| {
            let number = rows.iter().position(|other| *other == row);
            // Without a change of the clocks the offset does not matter.
            let number = number.or_else(|| rows.iter().position(|other| other.minute == row.minute));
            // A zone whose offset is no multiple of a quarter hour.
            number.or_else(|| rows.iter().rposition(|other| other.minute <= row.minute)).unwrap_or_default() as u32
        };
        let days = first.iter_days().zip(columns).map(|(date, slots)| {
            let start = slots.first().map_or_else(|| day_start(zone, date), |(time, _)| *time);
            let end = date.succ_opt().map_or(start, |next| day_start(zone, next));
            let slots = slots.into_iter().map(|(time, row)| (time, number(row))).collect();
            GridDay { date, start, end, slots }
        });
        let days = days.collect();
        Self { rows, days }
    }

    /// The number of rows.
    pub fn height(&self) -> u32 {
        self.rows.len() as u32
    }

    /// The numbers of the rows that have a label, each full hour and the first row of a repetition, with an instant of each.
    ///
    /// A row that occurs twice has the instant of the day on which it does.
    pub fn labels(&self) -> impl Iterator<Item = (u32, DateTime<Utc>)> {
        (0_u32..).zip(&self.rows).filter_map(|(number, row)| {
            let previous = number.checked_sub(1).and_then(|previous| self.rows.get(previous as usize));
            let is_repetition = previous.is_some_and(|previous| previous.minute > row.minute);
            if row.minute % 60 != 0 && !is_repetition {
                return None;
            }
            let longest = self.days.iter().max_by_key(|day| day.slots.len())?;
            let time = longest.time_at(number).or_else(|| self.days.iter().find_map(|day| day.time_at(number)))?;
            Some((number, time))
        })
    }

    /// The day that contains an instant: its index, and itself.
    pub fn day_of(&self, time: DateTime<Utc>) -> Option<(usize, &GridDay)> {
        self.days.iter().enumerate().find(|(_, day)| day.start <= time && time < day.end)
    }
}

impl GridDay {
    /// The start of the quarter hour in a row, unless the day lacks it.
    pub fn time_at(&self, row: u32) -> Option<DateTime<Utc>> {
        self.slots.iter().find(|(_, number)| *number == row).map(|(time, _)| *time)
    }

    /// The position of the part of a span that lies on this day, in minutes below the top of the grid.
    pub fn position(&self, (start, end): (DateTime<Utc>, DateTime<Utc>)) -> Option<(u32, u32)> {
        let (start, end) = (start.max(self.start), end.min(self.end));
        if start >= end {
            return None;
        }
        // The end is exclusive: it belongs to the quarter hour before it.
        let minutes = |is_in_slot: &dyn Fn(DateTime<Utc>) -> bool, time: DateTime<Utc>| {
            let (slot, row) = self.slots.iter().rev().find(|(slot, _)| is_in_slot(*slot))?;
            Some(row * SLOT_MINUTES + (time - slot).num_minutes() as u32)
        };
        Some((minutes(&|slot| slot <= start, start)?, minutes(&|slot| slot < end, end)?))
    }

    /// The rows that the day lacks, as ranges in minutes below the top of a grid with `height` rows.
    pub fn missing(&self, height: u32) -> Vec<(u32, u32)> {
        let mut ranges = Vec::new();
        let mut next = 0;
        for row in self.slots.iter().map(|(_, row)| *row).chain([height]) {
            if row > next {
                ranges.push((next * SLOT_MINUTES, row * SLOT_MINUTES));
            }
            next = row + 1;
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Offset as _, TimeZone as _};
    use chrono_tz::{TZ_VARIANTS, Tz};

    fn zone(tz: Tz) -> impl Fn(DateTime<Utc>) -> i32 {
        move |time| tz.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc()
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn local(tz: Tz, text: &str) -> LocalTime {
        LocalTime::new(&zone(tz), text.parse().unwrap())
    }

    fn grid(tz: Tz, first: &str, days: usize) -> TimeGrid {
        TimeGrid::new(&zone(tz), first.parse().unwrap(), days)
    }

    #[test]
    fn skipped_time_is_after_the_change() {
        let time = local(Tz::Europe__Berlin, "2027-03-28T02:30:00");
        assert_eq!(time, LocalTime::Skipped(utc("2027-03-28T01:30:00Z")), "03:30 in summer time");
        assert_eq!(
            local(Tz::America__New_York, "2027-03-14T02:00:00"),
            LocalTime::Skipped(utc("2027-03-14T07:00:00Z"))
        );
    }

    #[test]
    fn repeated_time_has_two_instants() {
        let (first, second) = (utc("2027-10-31T00:30:00Z"), utc("2027-10-31T01:30:00Z"));
        assert_eq!(local(Tz::Europe__Berlin, "2027-10-31T02:30:00"), LocalTime::Twice(first, second));
        assert_eq!(local(Tz::Europe__Berlin, "2027-10-31T03:00:00"), LocalTime::Once(utc("2027-10-31T02:00:00Z")));
        assert_eq!(local(Tz::Europe__Berlin, "2027-10-31T01:59:00"), LocalTime::Once(utc("2027-10-30T23:59:00Z")));
    }

    #[test]
    fn day_starts_after_a_skipped_midnight() {
        // Chile sets the clocks from 24:00 to 01:00.
        let zone = zone(Tz::America__Santiago);
        let start = day_start(&zone, "2027-09-05".parse().unwrap());
        assert_eq!(to_local(&zone, start), "2027-09-05T01:00:00".parse().unwrap());
    }

    #[test]
    fn grid_has_both_repeated_hours_and_lacks_the_skipped_one() {
        let autumn = grid(Tz::Europe__Berlin, "2027-10-25", 7);
        assert_eq!(autumn.height(), 100);
        let labels: Vec<_> = autumn.labels().skip(2).take(2).collect();
        assert_eq!(labels, [(8, utc("2027-10-31T00:00:00Z")), (12, utc("2027-10-31T01:00:00Z"))], "02:00 twice");
        let sunday = &autumn.days[6];
        assert_eq!(sunday.position((utc("2027-10-31T01:00:00Z"), utc("2027-10-31T02:00:00Z"))), Some((180, 240)));
        assert!(sunday.missing(100).is_empty());
        assert_eq!(autumn.days[0].missing(100), [(180, 240)], "the second 02:00 exists on Sunday only");

        let spring = grid(Tz::Europe__Berlin, "2027-03-22", 7);
        assert_eq!((spring.height(), spring.days[6].missing(96)), (96, vec![(120, 180)]));
        assert_eq!(spring.days[6].time_at(8), None);
        // A span across the change ends before it or begins after it.
        assert_eq!(
            spring.days[6].position((utc("2027-03-28T00:00:00Z"), utc("2027-03-28T01:00:00Z"))),
            Some((60, 120))
        );
        assert_eq!(
            spring.days[6].position((utc("2027-03-28T01:00:00Z"), utc("2027-03-28T02:00:00Z"))),
            Some((180, 240))
        );
    }

    #[test]
    fn week_that_starts_with_the_repetition_matches_later_days_by_offset() {
        let week = grid(Tz::America__New_York, "2027-11-07", 7);
        assert_eq!(week.height(), 100);
        // From Monday on, only the second 01:00, in winter time, exists.
        assert_eq!(week.days[1].missing(100), [(60, 120)]);
        assert_eq!(week.days[1].time_at(8), Some(utc("2027-11-08T06:00:00Z")));
    }

    #[test]
    fn grid_of_a_zone_with_half_hours_has_precise_positions() {
        let week = grid(Tz::Asia__Kolkata, "2027-06-07", 7);
        // 09:30 to 11:37 local time.
        let span = (utc("2027-06-08T04:00:00Z"), utc("2027-06-08T06:07:00Z"));
        assert_eq!(week.days[1].position(span), Some((9 * 60 + 30, 11 * 60 + 37)));
        assert_eq!(week.days[0].position(span), None);
        // A span over midnight appears on both days.
        let night = (utc("2027-06-08T17:30:00Z"), utc("2027-06-08T19:30:00Z"));
        assert_eq!((week.days[1].position(night), week.days[2].position(night)), (Some((1_380, 1_440)), Some((0, 60))));
    }

    /// The days of two years on which a zone changes its clocks, and the days before and after.
    fn days_with_changes(zone: Zone) -> Vec<NaiveDate> {
        let noon = |day: NaiveDate| day.and_time(NaiveTime::from_hms_opt(12, 0, 0).unwrap()).and_utc();
        let first: NaiveDate = "2026-01-01".parse().unwrap();
        let changes =
            first.iter_days().take(730).filter(|day| zone(noon(*day)) != zone(noon(*day) + Duration::days(1)));
        changes.flat_map(|day| [day, day + Duration::days(1), day + Duration::days(2)]).chain([first]).collect()
    }

    #[test]
    fn each_quarter_hour_of_every_zone_has_one_row() {
        for tz in TZ_VARIANTS {
            let zone = zone(tz);
            for day in days_with_changes(&zone) {
                let grid = TimeGrid::new(&zone, day - Duration::days(1), 3);
                let mut next = grid.days[0].start;
                for column in &grid.days {
                    assert_eq!(column.start, next, "{tz} {}: days are adjacent", column.date);
                    next = column.end;
                    let mut rows = Vec::new();
                    let mut time = column.start;
                    while time < column.end {
                        let (from, to) = column.position((time, time + SLOT)).unwrap();
                        assert_eq!(to - from, SLOT_MINUTES, "{tz} {time}");
                        assert_eq!(column.time_at(from / SLOT_MINUTES), Some(time), "{tz} {time}");
                        let at = to_local(&zone, time);
                        assert_eq!(at.date(), column.date, "{tz} {time}");
                        match LocalTime::new(&zone, at) {
                            LocalTime::Once(only) => assert_eq!(only, time, "{tz} {at}"),
                            LocalTime::Twice(a, b) => assert!(a < b && (a == time || b == time), "{tz} {at}"),
                            LocalTime::Skipped(_) => panic!("{tz} {at} exists"),
                        }
                        rows.push(from);
                        time += SLOT;
                    }
                    assert!(rows.is_sorted_by(|a, b| a < b), "{tz} {}: rows are in the order of time", column.date);
                    let missing: u32 = column.missing(grid.height()).iter().map(|(from, to)| to - from).sum();
                    assert_eq!(rows.len() as u32 + missing / SLOT_MINUTES, grid.height(), "{tz} {}", column.date);
                }
            }
        }
    }
}

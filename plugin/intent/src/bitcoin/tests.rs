mod differential;
mod draft;
mod formats;
mod refusals;
mod review;
mod standards;

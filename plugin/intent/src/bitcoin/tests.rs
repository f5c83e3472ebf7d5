mod differential;
mod draft;
mod refusals;
mod review;
mod standards;

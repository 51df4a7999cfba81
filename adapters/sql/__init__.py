"""What every room that keeps tables needs of a database: one writing thread, and statements handed to the driver."""

CREATE TABLE orders (
	id bigint PRIMARY KEY,
	customer varchar(80) NOT NULL,
	total decimal(12,2) NOT NULL
);

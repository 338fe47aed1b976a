-- Writes how an entity stands in a table of PostgreSQL: every field is the column of the same name.
--
--   psql -AtX "$URL" -v system=shop -v entity=customer -v table=customers -f mapping.sql >> lockstep.toml
SELECT concat_ws(E'\n',
    '',
    format('[systems.%s.map.%s]', :'system', :'entity'),
    format('table = "%s"', :'table'),
    format('[systems.%s.map.%s.fields]', :'system', :'entity'),
    (SELECT string_agg(format('%1$s = "%1$s"', attname), E'\n' ORDER BY attnum)
       FROM pg_attribute
      WHERE attrelid = :'table'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''));

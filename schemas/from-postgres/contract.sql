-- Writes a contract for a table of PostgreSQL, as a beginning: types, key and what may be null are there,
-- what the values mean is yours to say. A column that the database computes is left out.
--
--   psql -AtX "$URL" -v entity=customer -v table=customers -v owner=shop -f contract.sql > customer.odcs.yaml
WITH target AS (
    SELECT :'table'::regclass AS oid
), fields AS (
    SELECT a.attname AS name, a.attnum, a.attnotnull, d.description,
           CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END AS base,
           CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS typmod,
           array_position(k.indkey::int2[], a.attnum) AS place,
           (SELECT string_agg(to_json(enumlabel::text)::text, ', ' ORDER BY enumsortorder)
              FROM pg_enum WHERE enumtypid = t.oid) AS labels
      FROM target
      JOIN pg_attribute a ON a.attrelid = target.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
      JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_index k ON k.indrelid = target.oid AND k.indisprimary
      LEFT JOIN pg_description d ON d.objoid = target.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = a.attnum
), typed AS (
    SELECT *,
           CASE WHEN base IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) THEN 'integer'
                WHEN base IN ('numeric'::regtype, 'float4'::regtype, 'float8'::regtype) THEN 'number'
                WHEN base = 'bool'::regtype THEN 'boolean'
                WHEN base = 'date'::regtype THEN 'date'
                WHEN base = 'time'::regtype THEN 'time'
                WHEN base IN ('timestamp'::regtype, 'timestamptz'::regtype) THEN 'timestamp'
                WHEN base IN ('json'::regtype, 'jsonb'::regtype) THEN 'object'
                WHEN (SELECT typcategory FROM pg_type WHERE oid = base) = 'A' THEN 'array'
                ELSE 'string' END AS logical,
           CASE WHEN base = 'numeric'::regtype AND typmod > 4
                    THEN format('decimal(%s,%s)', (typmod - 4) >> 16, (typmod - 4) & 2047)
                WHEN base = 'numeric'::regtype THEN 'decimal(38,10)'
                WHEN base IN ('float4'::regtype, 'float8'::regtype) THEN 'double'
                WHEN base = 'uuid'::regtype THEN 'uuid'
                WHEN base = 'bytea'::regtype THEN 'bytes' END AS physical,
           CASE WHEN base IN ('varchar'::regtype, 'bpchar'::regtype) AND typmod > 4 THEN typmod - 4 END AS longest
      FROM fields
)
SELECT concat_ws(E'\n',
    'apiVersion: v3.1.0',
    'kind: DataContract',
    format('id: %s-%s', :'owner', :'entity'),
    'version: 1.0.0',
    'status: active',
    'schema:',
    format('  - name: %s', :'entity'),
    '    customProperties:',
    '      - property: lockstep.owner',
    format('        value: %s', :'owner'),
    '    properties:',
    (SELECT string_agg(concat_ws(E'\n',
        -- Some names are values of other kinds in YAML.
        format('      - name: %s', CASE WHEN lower(name) IN ('y', 'n', 'yes', 'no', 'on', 'off', 'true', 'false', 'null')
                                        THEN to_json(name::text)::text ELSE name END),
        '        description: ' || to_json(description),
        format('        logicalType: %s', logical),
        '        physicalType: ' || physical,
        CASE WHEN place IS NOT NULL THEN '        primaryKey: true' END,
        -- A vector of keys counts from zero, positions from one.
        CASE WHEN place IS NOT NULL THEN format('        primaryKeyPosition: %s', place + 1) END,
        CASE WHEN attnotnull THEN '        required: true' END,
        CASE WHEN longest IS NOT NULL THEN E'        logicalTypeOptions:\n          maxLength: ' || longest END,
        CASE WHEN labels IS NOT NULL THEN concat(
            E'        customProperties:\n          - property: lockstep.enum\n            value: [', labels, ']') END
    ), E'\n' ORDER BY attnum) FROM typed));
